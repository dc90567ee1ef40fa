import numpy as np
import pytest
from keras import ops

from keras_seq import layers, models
from keras_seq.decoding import PromptedModel, search
from tests.reference import backend_cases, in_graph, long_on_jax

V, WIDTH = 12, 16
IDS = {"start_id": 2, "end_id": 3, "pad_id": 0}
PROMPTS = [[2], [2, 7, 5, 9], [2, 4], [3, 11, 6]]  # an end token may stand before a text
BACKBONES = {
    "lstm": lambda: layers.RecurrentStack("lstm", 8),
    "transformer": lambda: layers.TransformerStack(8, num_heads=2, num_layers=1, positions="learned"),
}


def padded(rows, width):
    batch = np.zeros((len(rows), width), "int32")
    for line, row in zip(batch, rows, strict=True):
        line[: len(row)] = row
    return batch


def continued_by_hand(model, prompt, max_length):
    """Greedy: the whole text through the model, again and again; what is after it is padding."""
    ids, total = list(prompt), 0.0
    while len(ids) < len(prompt) + max_length and (len(ids) == len(prompt) or ids[-1] != IDS["end_id"]):
        logits = ops.convert_to_numpy(model(padded([ids], WIDTH)))[0, len(ids) - 1].astype("float64")
        ids.append(int(logits.argmax()))
        total += logits.max() - np.log(np.exp(logits).sum())
    return ids[len(prompt) :], total


@pytest.mark.parametrize("backbone", backend_cases(BACKBONES, on_jax=["transformer"]))
@long_on_jax
def test_prompts_of_all_lengths_go_on_as_each_alone(backbone):
    model = models.LanguageModel(V, BACKBONES[backbone]())
    random = np.random.default_rng(5)  # the same numbers on any backend
    for weight in model.weights:
        weight.assign(random.normal(size=weight.shape))
    model_of_prompts = PromptedModel(model, IDS["pad_id"])
    model = in_graph(model)
    found = search(model_of_prompts, padded(PROMPTS, 8), max_length=6, num_beams=1, **IDS)
    said = set()
    for row, prompt in enumerate(PROMPTS):
        expected, total = continued_by_hand(model, prompt, 6)
        length = int(found.lengths[row, 0])
        assert ops.convert_to_numpy(found.tokens)[row, 0, :length].tolist() == expected
        assert float(found.log_probs[row, 0]) == pytest.approx(total, abs=1e-4)
        said.add(tuple(expected))
    assert len(said) > 1  # not the same for every prompt

    # The beams of a prompt share its last token and no other state.
    several = search(model_of_prompts, padded(PROMPTS, 11), max_length=6, num_beams=3, num_return=3, **IDS)
    tokens, lengths, log_probs = (ops.convert_to_numpy(x) for x in several[:3])
    for row, prompt in enumerate(PROMPTS):
        for rank in range(3):
            text = [*prompt, *tokens[row, rank, : lengths[row, rank]]]
            scores = ops.convert_to_numpy(ops.log_softmax(model(padded([text], WIDTH))))[0]
            forced = sum(scores[t - 1, text[t]] for t in range(len(prompt), len(text)))
            assert log_probs[row, rank] == pytest.approx(forced, abs=1e-4)


class Sums:
    """A language model that says the sum of all tokens so far, of which padding, 0, counts nothing."""

    def initial_state(self, batch_size, max_length, hidden_states=False):
        return {"sum": ops.zeros((batch_size, 1), "int32")}

    def decode(self, tokens, state):
        sums = state["sum"] + ops.cumsum(ops.cast(tokens, "int32"), axis=1)
        return ops.one_hot(sums % V, V), {"sum": sums[:, -1:]}


@long_on_jax
def test_all_steps_at_once_after_a_prompt_without_room():
    model, prompts = PromptedModel(Sums(), IDS["pad_id"]), np.array([[2, 5, 0], [2, 0, 0], [2, 1, 3]], "int32")
    state = model.encode(prompts)
    assert list(state) == ["prompt"] and state["prompt"] is prompts
    tokens = np.array([[9, 3], [9, 4], [9, 1]], "int32")  # the prompt's last token stands for the first
    logits, state = model.decode(tokens, state)
    assert ops.convert_to_numpy(logits).argmax(-1).tolist() == [[7, 10], [2, 6], [6, 7]]
    assert ops.convert_to_numpy(state["steps"]).tolist() == [[2]] * 3 and "prompt" not in state
    logits, _ = model.decode(tokens[:, :1], state)  # which goes on from there
    assert ops.convert_to_numpy(logits).argmax(-1).tolist() == [[(10 + 9) % V], [(6 + 9) % V], [(7 + 9) % V]]
