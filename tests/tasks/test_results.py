"""Results as JSON, and without the slots that a search leaves empty."""

import numpy as np

from keras_seq.tasks import Failure, Generated
from keras_seq.tasks.results import finite, generated


def test_values_for_json():
    values = {"text": b"caf\xc3\xa9\xff", "scores": np.array([1.5, np.nan, -np.inf]), "rows": (None, True, [2, {3}])}
    assert finite(values) == {"text": "café\ufffd", "scores": [1.5, None, None], "rows": [None, True, [2, "{3}"]]}
    assert finite(np.array([b"a", b"b"])) == ["a", "b"]


def test_empty_slots_are_left_out():
    scores, finished = np.array([-1.0, -2.5, -np.inf]), np.array([True, False, False])
    found = generated([b"a\xff", "b", ""], scores, scores - 1, finished, "> ")
    assert found == Generated(["a\ufffd", "b"], [-1.0, -2.5], [-2.0, -3.5], [True, False], "> ")
    nothing = generated([""], np.array([-np.inf]), np.array([-np.inf]), np.array([False]))
    assert nothing == Failure("no output satisfies all the given constraints")
