"""Options of a search by name."""

import dataclasses

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

from keras_seq import decoding, text
from keras_seq.tasks.search_options import (
    as_config,
    check_names,
    ctc_options,
    find_constraints,
    from_config,
    get_search,
)

WORDS = text.Words(["red", "blue", "green"])


def half(lengths):
    return lengths / 2


@dataclasses.dataclass(frozen=True)
class Own(decoding.Beam):
    """A search of a kind of one's own."""


def test_a_search_object_is_taken_as_it_is():
    own = Own(num_beams=2)
    assert get_search({"search": own}) is own and get_search({}, own) is own
    assert get_search({}) == decoding.Beam() and get_search({}, decoding.Sampling(seed=3)) == decoding.Sampling(seed=3)


def test_a_length_penalty_is_a_name_with_alpha_or_a_function():
    assert get_search({"length_penalty": half}).length_penalty is half
    assert get_search({"length_penalty": "gnmt", "alpha": 0.3}).length_penalty == decoding.gnmt_penalty(0.3)
    assert get_search({"length_penalty": "gnmt"}).length_penalty == decoding.gnmt_penalty(1.0)
    before = decoding.Beam(length_penalty=decoding.gnmt_penalty(0.6))
    assert get_search({"alpha": 0.2}, before).length_penalty == decoding.gnmt_penalty(0.2)


@pytest.mark.parametrize(
    "search",
    [
        decoding.Beam(num_beams=3, length_penalty=decoding.gnmt_penalty(0.6)),
        decoding.Sampling(top_k=5, seed=2),
        decoding.Greedy(),
    ],
)
def test_a_search_from_its_configuration(search):
    assert from_config(as_config(search)) == search


@pytest.mark.parametrize("search", [Own(), decoding.Beam(length_penalty=half)])
def test_a_search_that_json_cannot_hold_has_no_configuration(search):
    assert as_config(search) == {}


def test_options_of_no_search_are_named():
    with pytest.raises(
        ValueError, match=r"^`beams`, `size`: here has no such option. It has: alpha, ban, .*, top_p\.$"
    ):
        check_names({"size": 1, "num_beams": 2, "beams": 3}, "here")
    check_names({"search": "beam", "num_beams": 2, "only": []}, "here")


def test_options_of_ctc():
    assert ctc_options({"search": "beam", "num_return": 2}, "it") == {"search": "beam", "num_return": 2}
    with pytest.raises(ValueError, match="^`num_beams`: it returns labels of frames"):
        ctc_options({"num_beams": 2}, "it")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_groups": 2, "force": True, "num_beams": 4}, "`force` does not work with beams in groups."),
        ({"diversity": 0.5}, "`diversity` requires `num_groups` greater than 1."),
        ({"temperature": 0.5, "seed": 1}, "`temperature`, `seed`: `search` beam has no such option. Leave it out, or "),
        ({"temperature": 0.5, "num_groups": 2}, "`temperature`: `search` beam has no such option."),
    ],
)
def test_options_that_exclude_each_other(options, message):
    with pytest.raises(ValueError, match=message):
        get_search(options)


def test_constraints_from_options():
    mine = decoding.MinLength(1)
    options = {
        "only": ["red", "blue red"],
        "ban": ["red green"],
        "no_repeat": 2,
        "min_length": 2,
        "constraints": [mine],
    }
    assert find_constraints(options, WORDS) == [
        decoding.MinLength(2),
        decoding.NoRepeat(2),
        decoding.Banned([[4, 6]]),
        decoding.Allowed([4, 5]),
        mine,
    ]
    with pytest.warns(UserWarning, match="`ban`: 1 of them are not in the vocabulary."):
        assert find_constraints({"ban": ["red", "pink"]}, WORDS) == [decoding.Banned([[4]])]
    for options, message in (
        ({"ban": ["pink"]}, "`ban` has no phrase whose words are all in the vocabulary."),
        ({"only": []}, "`only` has no phrase whose words are all in the vocabulary."),
        ({"min_length": 5, "max_length": 4}, "`min_length` 5 is more than `max_length` 4."),
        ({"end_within": 5, "max_length": 4}, "`end_within` 5 is more than `max_length` 4."),
    ):
        with pytest.raises(ValueError, match=message):
            find_constraints(options, WORDS)
