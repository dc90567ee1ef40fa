"""What a request may have, and what its items and messages are."""

import pytest

from keras_seq.serving import requests
from keras_seq.serving.requests import Bad
from keras_seq.serving.settings import Settings
from tests.serving.conftest import DESCRIBED

SETTINGS = Settings(batch_tokens=100, max_tokens=50)


@pytest.mark.parametrize(
    "vocabulary, length",
    [("Words", 3 + 1), ("Characters", 11 + 1), ("Bytes", 13 + 1), ("Subwords", 3 + 1), (None, 3 + 1)],
)
def test_the_length_of_a_text_is_that_of_its_vocabulary(vocabulary, length):
    assert requests.text_length("ä bc défghi", vocabulary) == length


def test_a_text_without_spaces_has_a_token_for_every_four_bytes():
    assert requests.text_length("a" * 40, "Subwords") == 10 + 1


def test_phrases_are_lists_of_texts():
    described = {**DESCRIBED, "options": ["ban", "only"]}
    options = {"ban": ["a", "b c"], "only": ["x"]}
    assert requests.check_options(options, described, SETTINGS) == options
    for wrong in ("a", [], ["a", 3], True):
        with pytest.raises(Bad, match="^`ban` has a wrong type. Received: "):
            requests.check_options({"ban": wrong}, described, SETTINGS)


@pytest.mark.parametrize(
    "reads, good, wrong, wanted",
    [
        ("words", ["a b", ["a", "b"], []], [["a", 3], 3], "a text or a list of words"),
        ("series", ["time,x\n1,2\n", [[1.0]]], [3, {"a": []}], "the text of a CSV file or rows of numbers"),
        ("array", [[[1.0]]], ["a", {"a": [1]}], "an array of numbers"),
        ("tensors", [[1.0], {"a": [1]}], ["a", None], "an array of numbers or an object with arrays by name"),
    ],
)
def test_inputs_have_the_type_that_the_task_reads(reads, good, wrong, wanted):
    described = {**DESCRIBED, "reads": reads}
    requests.check_inputs(good, described, SETTINGS)
    for one in wrong:
        with pytest.raises(Bad) as refused:
            requests.check_inputs(["a b", one] if reads == "words" else [[1], one], described, SETTINGS)
        assert str(refused.value) == f"Input 1 must be {wanted}. Received: {one!r}"


def test_only_the_text_of_a_series_may_be_longer_than_the_tokens_allow():
    text = "1,2\n" * 1000
    requests.check_inputs([text], {**DESCRIBED, "reads": "series"}, SETTINGS)
    with pytest.raises(Bad, match="Input 0 has 4,000 characters, too many for 50 tokens"):
        requests.check_inputs([text], {**DESCRIBED, "reads": "words"}, SETTINGS)


def test_inputs_that_depend_on_their_place_are_one_item():
    described = {**DESCRIBED, "joins": False, "numbered": True}
    (item,) = requests.detail_items(["a", "b c d"], {}, described, SETTINGS)
    assert item.alone and (item.rows, item.length) == (2, 4)
    fields, blobs = requests.message([item])
    assert (fields["inputs"], fields["numbers"], blobs) == (["a", "b c d"], [0, 1], [])
    assert requests.detail_items([], {}, described, SETTINGS) == []


def test_inputs_take_their_numbers_in_the_request_along():
    described = {**DESCRIBED, "numbered": True}
    first, second = (requests.detail_items(inputs, {}, described, SETTINGS) for inputs in (["a"], ["b", "c"]))
    fields, _ = requests.message([*second, *first])
    assert (fields["inputs"], fields["numbers"]) == (["b", "c", "a"], [0, 1, 0])


@pytest.mark.parametrize(
    "reads, one, length",
    [
        ("words", ["a", "b", "c"], 3),
        ("array", [], 1),
        ("series", "1,2\n" * 9, 1),
        ("audio", [0.0] * 4000, 4000 * 2 // 2000 + 1),
        ("audio", bytes(4000), 4000 // 2000 + 1),
    ],
)
def test_the_length_of_an_input(reads, one, length):
    (item,) = requests.detail_items([one], {}, {**DESCRIBED, "reads": reads}, SETTINGS)
    assert item.length == length


def test_a_task_is_warmed_up_with_what_it_reads():
    def inputs(**described):
        return [item.content["inputs"] for item in requests.warm_up({**DESCRIBED, **described}, SETTINGS)]

    assert inputs() == inputs(reads="words") == [["a"], ["a b c d e f g h i j"]]
    assert inputs(reads="audio") == [[[0.0] * 4000]]
    assert inputs(reads="series", columns=["load", "OT"], look_back=3) == [[[[0.0, 0.0]] * 3]]
    assert inputs(reads="tensors") == []


@pytest.mark.parametrize(
    "signature, columns, joins, rows",
    [
        ("", {"text": ["a", "b c"]}, True, 2),
        ("translate", {"text": ["a", "b c"]}, True, 2),
        ("", {"text": ["a", "b c"]}, False, None),
        ("other", {"text": ["a"]}, True, None),
        ("", {"text": ["a"], "max_length": 3}, True, None),
        ("", {"text": []}, True, None),
        ("", {"text": "a"}, True, None),
        ("", {"text": ["a", {"b64": "YQ=="}]}, True, None),
    ],
)
def test_calls_of_the_main_signature_with_texts_share_batches(signature, columns, joins, rows):
    item = requests.call_item(signature, columns, {**DESCRIBED, "joins": joins})
    fields, blobs = requests.message([item])
    assert fields["requests"] == [columns] and blobs == []
    if rows is None:
        assert item.alone and (item.length, fields["signature"]) == (1, signature)
    else:
        assert not item.alone and (item.rows, item.length, fields["signature"]) == (rows, 3, "translate")
