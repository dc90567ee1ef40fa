"""A model's answer for a sequence depends on the sequence alone: not on padding, neighbors, order or batch shape."""

import keras
import pytest

from tests.reference import quick

if keras.backend.backend() != "tensorflow":
    pytest.skip("thousands of shapes are one graph on TensorFlow alone", allow_module_level=True)

from keras_seq.inspection import certify, certify_adapters
from tests.sequence_models import MODELS

CASES, FEW = 144, 12  # of each model, in the long tests and in the quick ones
QUICK = ["classifier lstm", "forecaster", "recognizer ctc", "video gru", "language model gru"]
QUICK += ["translator transformer-modern"]


@pytest.mark.parametrize("name", quick(MODELS, QUICK))
def test_no_answer_depends_on_the_batch(name, request):
    cases = FEW if request.node.get_closest_marker("long") is None else CASES
    found = certify.certify(MODELS[name](), cases=cases)
    assert found.ok, "\n".join(certify.shown(found.smallest, found.seed) if found.smallest else ["all the same"])


@pytest.mark.long
@pytest.mark.parametrize("name", QUICK)
def test_all_cases_of_the_quick_ones(name):
    found = certify.certify(MODELS[name](), cases=CASES)
    assert found.ok, "\n".join(certify.shown(found.smallest, found.seed) if found.smallest else ["all the same"])


@pytest.mark.long
@pytest.mark.parametrize("name", QUICK)
def test_no_answer_depends_on_a_shape_that_is_known(name):
    """Without a graph each layer knows the sizes of what it is given, one row and one step included."""
    found = certify.certify(MODELS[name](compiled=certify_adapters.plainly), cases=10, seed=1)
    assert found.ok, "\n".join(certify.shown(found.smallest, found.seed) if found.smallest else ["all the same"])


def test_there_are_ten_thousand_cases():
    assert len(MODELS) * CASES >= 10_000
