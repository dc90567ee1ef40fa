"""Batches by padded width."""

import pytest

from keras_seq.tasks.batching import Limits, in_batches
from keras_seq.tasks.results import Failure


@pytest.mark.parametrize(
    "ratio, expected",
    [(1.0, [[5], [3], [1], [4, 0]]), (1.25, [[5], [3, 1], [4, 0]]), (2.0, [[5], [3, 1], [4, 0]])],
)
def test_widths_of_a_batch_are_within_the_ratio(ratio, expected):
    """Widths 8, 32, -, 40, 8 and 100, which is a batch of its own by the budget."""
    batches = []

    def compute(rows):
        batches.append(rows)
        return [f"row {row}" for row in rows]

    found = in_batches([3, 30, 500, 40, 8, 97], Limits(110, 200, ratio), compute)
    assert batches == expected
    assert isinstance(found[2], Failure) and found[:2] + found[3:] == [f"row {row}" for row in (0, 1, 3, 4, 5)]
