"""The generated task: what it says, and that nothing leaks."""

from collections import Counter

from recipes.synthetic import number_names


def test_the_names_are_those_of_the_languages():
    assert number_names.name(471206, "en") == "four hundred and seventy-one thousand two hundred and six"
    assert number_names.name(471206, "fr") == "quatre cent soixante et onze mille deux cent six"


def test_no_number_is_in_two_parts_and_none_is_tested_twice():
    parts = number_names.split_numbers(5_000, 1_000, seed=3)
    train, valid, test = (set(parts[part]) for part in ("train", "valid", "test"))
    assert not train & valid and not train & test and not valid & test
    assert len(valid) == len(parts["valid"]) == len(test) == len(parts["test"]) == 1_000


def test_one_to_six_digits_are_alike_frequent_in_training():
    counts = Counter(len(str(number)) for number in number_names.split_numbers(12_000, 1_000, seed=0)["train"])
    assert sorted(counts) == [1, 2, 3, 4, 5, 6]
    assert all(1_800 < count < 2_200 for count in counts.values())  # 2,000 each; 200 is five standard deviations


def test_the_seed_decides(monkeypatch):
    monkeypatch.setattr(number_names, "MAX_DIGITS", 4)  # a million numbers take long to shuffle
    assert number_names.split_numbers(50, 10, seed=1) == number_names.split_numbers(50, 10, seed=1)
    assert number_names.split_numbers(50, 10, seed=1) != number_names.split_numbers(50, 10, seed=2)
