import keras
import numpy as np
import pytest
from keras import ops

from keras_seq.decoding import gnmt_penalty, power_penalty, score, sockeye_penalty
from tests.decoding.models import IDS, PAD, START, arrays, beam_search, history_state, history_step, random_models
from tests.reference import long_on_jax


@pytest.mark.parametrize(
    ("penalty", "length", "divisor"),
    [(power_penalty(1.0), 7, 7.0), (power_penalty(0.5), 9, 3.0), (power_penalty(0.0), 9, 1.0),
     (gnmt_penalty(1.0), 7, 2.0), (gnmt_penalty(2.0), 13, 9.0), (gnmt_penalty(0.0), 13, 1.0),
     (sockeye_penalty(1.0, 5.0), 7, 2.0), (sockeye_penalty(2.0, 1.0), 5, 9.0), (sockeye_penalty(0.5), 9, 3.0)],
)  # fmt: skip
def test_penalties_take_numbers_and_tensors(penalty, length, divisor):
    assert penalty(length) == pytest.approx(divisor)
    for lengths in (
        ops.convert_to_tensor([length, length], "int32"),
        ops.convert_to_tensor([length, length], "float32"),
    ):
        np.testing.assert_allclose(ops.convert_to_numpy(penalty(lengths)), [divisor, divisor], rtol=1e-6)


def test_score_is_by_hand():
    log_half, log_quarter = np.log(0.5), np.log(0.25)
    seen = []

    def decode(tokens, state):
        seen.append(ops.convert_to_numpy(tokens).tolist())
        logits = np.log([0.0001, 0.0001, 0.25, 0.5, 0.25]).astype("float32")
        return ops.zeros((2, 3, 5)) + logits, state

    token_log_probs, total = score(decode, {}, np.array([[3, 2, PAD], [4, 3, 2]]), pad_id=PAD, start_id=START)
    assert seen == [[[START, 3, 2], [START, 4, 3]]]
    expected = [[log_half, log_quarter, 0.0], [log_quarter, log_half, log_quarter]]
    np.testing.assert_allclose(ops.convert_to_numpy(token_log_probs), expected, atol=1e-3)
    np.testing.assert_allclose(ops.convert_to_numpy(total), np.sum(expected, axis=1), atol=1e-3)


@long_on_jax
def test_the_score_of_a_search_is_the_forced_score():
    tables = random_models(50, 9, impossible=0.0, seed=8)
    tables[:, :, PAD] = -np.inf  # a model never says padding
    step = history_step(tables)

    def decode(tokens, state):  # the step, unrolled
        logits = []
        for t in range(tokens.shape[1]):
            one, state = step(tokens[:, t : t + 1], state)
            logits.append(one)
        return ops.concatenate(logits, axis=1), state

    result = beam_search(
        step, history_state(range(50), 4), batch_size=50, num_beams=4, max_length=6, num_return=3, **IDS
    )
    tokens, _, log_probs, _ = arrays(result)
    models = np.repeat(range(50), 3)
    _, total = score(decode, history_state(models), tokens.reshape(150, 6), pad_id=PAD, start_id=START)
    np.testing.assert_allclose(ops.convert_to_numpy(total), log_probs.reshape(-1), atol=1e-5)


def test_an_impossible_target_scores_minus_infinity_and_no_nan():
    def decode(tokens, state):
        return ops.convert_to_tensor(np.array([[[0.0, -np.inf, 0.0], [0.0, 0.0, 0.0]]], "float32")), state

    token_log_probs, total = score(decode, {}, np.array([[1, PAD]]), pad_id=PAD, start_id=1)
    assert ops.convert_to_numpy(token_log_probs).tolist() == [[-np.inf, 0.0]]
    assert ops.convert_to_numpy(total).tolist() == [-np.inf]
    assert keras.backend.standardize_dtype(total.dtype) == "float32"
