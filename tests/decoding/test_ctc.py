import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.decoding.ctc import ctc
from tests.decoding.models import arrays
from tests.reference import backend_cases, compiled, long_on_jax

T = 4
LENGTHS = np.array([4, 3, 2, 1, 0, 4], "int32")


@functools.cache
def compiled_with(**options):
    return compiled(lambda logits, lengths: ctc(logits, lengths, **options))


def decode(logits, lengths=LENGTHS, **options):
    return compiled_with(**options)(logits, lengths)


def random_logits(vocabulary_size, seed):
    return np.random.default_rng(seed).normal(size=(len(LENGTHS), T, vocabulary_size)).astype("float32") * 2


def labelings(logits, blank):
    """One utterance, (frames, V): all alignments, one by one -> {labeling: probability}, and the best alignment's."""
    chances = np.exp(logits.astype("float64"))
    chances /= chances.sum(-1, keepdims=True)
    found, best = {}, 0.0
    for alignment in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        labels = tuple(label for label, _ in itertools.groupby(alignment) if label != blank)
        chance = np.prod([row[label] for row, label in zip(chances, alignment, strict=True)])
        found[labels] = found.get(labels, 0.0) + chance
        best = max(best, chance)
    return found, best


def results(hypotheses):
    """-> for each row a list of (labels, log p), empty slots left out."""
    tokens, lengths, log_probs, _ = arrays(hypotheses)
    return [
        [
            (tuple(tokens[b, r, : lengths[b, r]].tolist()), float(log_probs[b, r]))
            for r in range(tokens.shape[1])
            if log_probs[b, r] > -np.inf
        ]
        for b in range(len(tokens))
    ]


@pytest.mark.parametrize(("V", "blank"), backend_cases([(3, 0), (4, 3), (4, 1)], on_jax=[(4, 1)]))
def test_a_beam_with_room_for_all_finds_the_likeliest_labelings(V, blank):
    for seed in range(4):
        logits = random_logits(V, seed)
        found = results(decode(logits, search="beam", num_beams=130, num_return=V, blank_id=blank))
        for row, frames, ours in zip(logits, LENGTHS, found, strict=True):
            chances, _ = labelings(row[:frames], blank)
            expected = sorted(chances.items(), key=lambda pair: -pair[1])[:V]
            assert [labels for labels, _ in ours] == [labels for labels, _ in expected]
            np.testing.assert_allclose([log_p for _, log_p in ours], np.log([p for _, p in expected]), atol=1e-4)


@pytest.mark.parametrize("num_beams", backend_cases([2, 3], on_jax=[3]))
def test_a_narrow_beam_gives_the_true_log_p_of_what_it_finds(num_beams):
    """A narrow beam's own numbers lack the alignments that it has pruned."""
    logits = random_logits(4, seed=9)
    hypotheses = decode(logits, search="beam", num_beams=num_beams, num_return=num_beams)
    for row, frames, ours in zip(logits, LENGTHS, results(hypotheses), strict=True):
        chances, _ = labelings(row[:frames], 0)
        log_probs = [log_p for _, log_p in ours]
        np.testing.assert_allclose(log_probs, [np.log(chances[labels]) for labels, _ in ours], atol=1e-4)
        assert log_probs == sorted(log_probs, reverse=True) and len(dict(ours)) == len(ours)


def test_greedy_is_the_likeliest_alignment_with_the_log_p_of_its_labeling():
    for seed, blank in ((3, 0), (4, 2)):
        logits = random_logits(3, seed)
        hypotheses = decode(logits, blank_id=blank)
        scores = arrays(hypotheses)[3]
        for row, frames, ours, score in zip(logits, LENGTHS, results(hypotheses), scores, strict=True):
            chances, best = labelings(row[:frames], blank)
            alignment = row[:frames].argmax(-1).tolist()
            labels = tuple(label for label, _ in itertools.groupby(alignment) if label != blank)
            assert [labels] == [found for found, _ in ours]
            np.testing.assert_allclose(ours[0][1], np.log(chances[labels]), atol=1e-4)
            np.testing.assert_allclose(score, [np.log(best)], atol=1e-4)


@pytest.mark.parametrize("search", backend_cases(["greedy", "beam"], on_jax=["beam"]))
def test_padding_and_normalization_change_nothing_and_the_loss_agrees(search):
    logits, lengths = random_logits(4, seed=5), np.array([4, 3, 2, 1, 2, 4], "int32")
    hypotheses = arrays(decode(logits, lengths, search=search))
    changed = logits - 3.0  # the same to a softmax
    changed[np.arange(T) >= lengths[:, None]] = 50 * np.sin(np.arange((T - lengths).sum() * 4)).reshape(-1, 4)
    for one, other in zip(arrays(decode(changed, lengths, search=search)), hypotheses, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    tokens, _, log_probs, _ = hypotheses
    full = lengths == T  # the loss knows no lengths of frames
    loss = keras.losses.CTC(reduction=None)(tokens[full, 0], logits[full])
    np.testing.assert_allclose(ops.convert_to_numpy(loss), -log_probs[full, 0], atol=1e-4)


def test_what_comes_after_the_labels_is_blank_and_slots_that_nothing_fills_are_empty():
    logits = random_logits(3, seed=6)
    tokens, lengths, log_probs, scores = arrays(decode(logits, search="beam", num_return=3, blank_id=2))
    assert tokens.shape == (6, 3, T) and tokens.dtype == np.int32
    assert (tokens[np.arange(T) >= lengths[..., None]] == 2).all()
    assert (tokens[np.arange(T) < lengths[..., None]] != 2).all()
    assert log_probs[4].tolist() == [0.0, -np.inf, -np.inf]  # no frames: one labeling, the empty one, which is sure
    np.testing.assert_array_equal(scores, log_probs)


@pytest.mark.parametrize("search", backend_cases(["greedy", "beam"], on_jax=["beam"]))
@long_on_jax
def test_it_can_be_compiled(search):
    logits = random_logits(4, seed=7)
    options = {"search": search, "num_beams": 4}
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        specs = [tf.TensorSpec((None, None, 4), tf.float32), tf.TensorSpec((None,), tf.int32)]
        graph = tf.function(lambda logits, lengths: ctc(logits, lengths, **options), input_signature=specs)
    else:
        graph = functools.partial(decode, **options)
    for one, other in zip(arrays(graph(logits, LENGTHS)), arrays(ctc(logits, LENGTHS, **options)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": "sampling"}, "'sampling'"),
        ({"num_return": 2}, "one for a greedy search"),
        ({"search": "beam", "num_beams": 2, "num_return": 3}, "`num_beams`=2"),
        ({"search": "beam", "num_return": 5}, "V=4"),
        ({"search": "beam", "num_return": 0}, "Received: 0"),
        ({"blank_id": 4}, "`blank_id`"),
        ({"blank_id": -1}, "`blank_id`"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ctc(random_logits(4, seed=0), LENGTHS, **options)


def test_logits_without_a_frame_axis_are_refused():
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        ctc(random_logits(4, seed=0)[0], LENGTHS)
