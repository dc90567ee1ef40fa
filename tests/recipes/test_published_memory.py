"""The adding problem and copy memory: what is shown, what is right, and how fresh the examples are."""

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

from recipes.synthetic import published_memory


@pytest.mark.parametrize("length", [2, 3, 40])
def test_the_sum_is_that_of_two_marked_values(length):
    steps, sums = published_memory.drawn("adding", length, 500, 1, "valid")
    assert steps.shape == (500, length, 2) and sums.shape == (500, 1)
    values, marks = steps[..., 0], steps[..., 1]
    assert (values >= 0).all() and (values < 1).all()
    assert set(np.unique(marks)) == {0, 1} or length == 2
    assert (marks.sum(axis=1) == 2).all()
    by_hand = [[sum(float(value) for value, mark in row if mark)] for row in steps]
    np.testing.assert_allclose(sums, by_hand, rtol=1e-6)


def test_every_step_is_marked_as_often_and_values_are_uniform():
    steps, sums = published_memory.drawn("adding", 8, 40_000, 2, "train")
    assert steps[..., 1].mean(axis=0) == pytest.approx(np.full(8, 2 / 8), abs=0.01)
    # Every pair of steps, too: 1 of 28.
    pairs = np.einsum("bi,bj->ij", steps[..., 1], steps[..., 1]) / 40_000
    assert pairs[~np.eye(8, dtype=bool)] == pytest.approx(np.full(56, 1 / 28), abs=0.005)
    assert steps[..., 0].mean() == pytest.approx(1 / 2, abs=0.005)
    assert np.square(sums - 1).mean() == pytest.approx(published_memory.MEAN_ERROR, abs=0.005)


@pytest.mark.parametrize("length", [2, 7])
def test_the_symbols_are_right_after_the_delimiters(length):
    ids, answers = published_memory.drawn("copy_memory", length, 300, 1, "test")
    assert ids.shape == answers.shape == (300, length + 20)
    assert published_memory.vocabulary().unknown_id not in ids and 0 not in ids  # 0 is padding
    for row, right in zip(ids, answers, strict=True):
        shown = published_memory.written(row).split()
        assert shown[10:] == ["."] * (length - 1) + [">"] * 11
        named = [published_memory.ANSWERS[answer] for answer in right]
        assert named == ["."] * (length + 10) + shown[:10]
    counts = np.bincount(answers[:, -10:].ravel(), minlength=published_memory.CLASSES)
    assert counts[0] == 0 and counts[1:] / counts.sum() == pytest.approx(np.full(8, 1 / 8), abs=0.03)


def test_guessing_is_the_figure_of_the_papers():
    assert published_memory.guessing(1000) == pytest.approx(0.0204, abs=5e-5)
    assert published_memory.guessing(500) == pytest.approx(0.04, abs=5e-4)


@pytest.mark.parametrize("task", published_memory.TASKS)
def test_splits_seeds_and_lengths_have_examples_of_their_own(task):
    drawn = [
        published_memory.drawn(task, 6, 4, seed, split)[0].tolist()
        for seed, split in ((1, "train"), (1, "valid"), (1, "test"), (2, "test"), (-1, "test"))
    ]
    assert all(a != b for i, a in enumerate(drawn) for b in drawn[:i])
    again = published_memory.drawn(task, 6, 4, 1, "test")[0]
    assert again.tolist() == drawn[2]
    longer = published_memory.drawn(task, 7, 4, 1, "test")[0]
    assert longer[:, :2].tolist() != again[:, :2].tolist()


@pytest.mark.parametrize("task", published_memory.TASKS)
def test_an_epoch_has_fresh_examples_of_each_length_and_can_be_had_again(task):
    fresh = published_memory.Fresh(task, (3, 5), examples=10, seed=1)
    batches = fresh.batches(4)
    dataset = batches.dataset()
    assert int(dataset.cardinality()) == 6
    epochs = [[(x.numpy().tolist(), y.numpy().tolist()) for x, y in dataset] for _ in range(2)]
    extra = 0 if task == "adding" else 20
    for epoch in epochs:
        assert sorted(len(x[0]) for x, _ in epoch) == [3 + extra] * 3 + [5 + extra] * 3
        assert all(len(x) == len(y) == 4 for x, y in epoch)
    drawn = [str(x) for epoch in epochs for x, _ in epoch]
    assert len(set(drawn)) == len(drawn) == 12
    batches.start_epoch(0)
    assert [(x.numpy().tolist(), y.numpy().tolist()) for x, y in dataset] == epochs[0]
    batches.start_epoch(1)
    assert [(x.numpy().tolist(), y.numpy().tolist()) for x, y in dataset] == epochs[1]
