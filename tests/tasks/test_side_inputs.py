"""What a search gets besides its texts."""

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

from keras_seq import decoding, text
from keras_seq.tasks import Failure
from keras_seq.tasks.side_inputs import SideInputs

WORDS = text.Words(["red", "blue", "green"])


def test_a_name_that_is_none():
    with pytest.raises(ValueError, match="`side_inputs` must be some of prefix, force. Received: suffix, terms"):
        SideInputs(["prefix", "suffix", "terms"], {}, WORDS)


def test_the_first_thing_that_is_missing_is_the_failure():
    side = SideInputs(["prefix", "force"], {}, WORDS)
    texts, beside = side.read([("a", "0", "red", "blue\tgreen"), ("b", "7", "pink", "grey"), ("c", "2", "", "grey")])
    assert texts == ["a", "b", "c"]
    assert beside == [
        {"text": "a", "number": 0, "prefix": [[4]], "force": [[5], [6]]},
        Failure("`prefix`: not all of 'pink' is in the vocabulary"),
        Failure("`force`: not all of 'grey' is in the vocabulary"),
    ]


def test_prefixes_and_terms_are_constraints():
    side = SideInputs(["prefix", "force"], {}, WORDS)
    _, beside = side.read([("a", "0", "red blue", "green"), ("b", "1", "", "red\tblue green")])
    prefix, force = side.tensors(beside)
    assert prefix.numpy().tolist() == [[4, 5], [0, 0]]
    assert force.numpy().tolist() == [[[6, 0], [0, 0]], [[4, 0], [5, 6]]]
    search, (first, second) = side.applied(decoding.Beam(), [prefix, force])
    assert search == decoding.Beam() and isinstance(first, decoding.Prefix)
    assert isinstance(second, decoding.RequiredPhrases) and second.phrases is force and second.pad_id == WORDS.pad_id


def test_a_search_that_draws_gets_the_number_of_each_text():
    side = SideInputs([], {"search": "sampling", "seed": 1}, WORDS)
    _, beside = side.read(["a", ("b", "7")])
    assert side.names == ["number"] and [one["number"] for one in beside] == [0, 7]
    search, constraints = side.applied(decoding.Sampling(seed=1), side.tensors(beside))
    assert len(search.seed) == 2 and constraints == []
