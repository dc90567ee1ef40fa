"""The queue of a model: inputs wait in lanes of like length and leave as batches."""

import dataclasses
from collections.abc import Hashable
from typing import Any

LANE = 8  # tokens: the step between the widths of two lanes, as `tasks.batching` pads


class Full(Exception):
    """The queue is full."""


@dataclasses.dataclass(eq=False)
class Item:
    """An input that waits.

    Attributes:
        content: what the model's process gets.
        length: number of tokens of the longest row.
        kind: inputs of different kinds (other search options, say) never share a batch.
        rows: number of rows that it adds to a batch.
        alone: whether it shares its batch with no other.
        answer: a place for its result, for whoever waits.
        arrived: time at which it was added.
    """

    content: Any
    length: int
    kind: Hashable = None
    rows: int = 1
    alone: bool = False
    answer: Any = None
    arrived: float = 0.0


def lane_width(length: int) -> int:
    """Width of the lane for a length: a multiple of `LANE`, at least the length."""
    return -(-max(length, 1) // LANE) * LANE


class Lanes:
    """Inputs by kind and width, each lane in order of arrival.

    A batch holds inputs of one lane. Where these do not fill it, inputs of the nearest lanes join them, up to a ratio
    of the widths. Its tokens are its rows times its largest width, at most the budget, unless it is one input. A lane
    is ripe if it fills a batch, or if its first input has waited for `max_wait`. Of several ripe lanes the one whose
    first input has waited longest is next, so no lane starves.

    Args:
        batch_tokens: token budget of a batch.
        max_wait: longest wait for others to join, in seconds.
        max_items: number of inputs that may wait.
        width_ratio: largest ratio of two widths in a batch.
    Raises:
        ValueError: for a number out of its range.
    """

    def __init__(self, batch_tokens: int, max_wait: float, max_items: int, width_ratio: float = 1.0):
        for name, value, least in (
            ("batch_tokens", batch_tokens, 1),
            ("max_wait", max_wait, 0),
            ("max_items", max_items, 1),
            ("width_ratio", width_ratio, 1),
        ):
            if value < least:
                raise ValueError(f"`{name}` must be at least {least}. Received: {value}")
        self.batch_tokens, self.max_wait, self.max_items = batch_tokens, max_wait, max_items
        self.width_ratio = width_ratio
        self._lanes: dict[Any, dict[int, Item]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, items: list[Item], now: float) -> None:
        """Adds the inputs of a request: all of them, or none.

        Raises:
            Full: if they do not fit.
        """
        if self._count + len(items) > self.max_items:
            raise Full(f"{self._count:,} inputs wait, and the queue holds {self.max_items:,}")
        for item in items:
            item.arrived = now
            self._lanes.setdefault(_lane(item), {})[id(item)] = item
        self._count += len(items)

    def remove(self, item: Item) -> bool:
        """Removes an input that nobody waits for any more. False if it does not wait here."""
        lane = self._lanes.get(_lane(item), {})
        if lane.pop(id(item), None) is None:
            return False
        self._count -= 1
        if not lane:
            del self._lanes[_lane(item)]
        return True

    def take(self, now: float, all_ripe: bool = False) -> list[Item]:
        """Takes the next batch, empty if no lane is ripe.

        Args:
            all_ripe: whether no input has to wait any longer.
        """
        batches = []
        for lane in self._lanes.values():
            batch, full = self._batch(lane)
            if full or all_ripe or now >= batch[0].arrived + self.max_wait:
                batches.append(batch)
        if not batches:
            return []
        batch = self._joined(min(batches, key=lambda batch: batch[0].arrived))
        for item in batch:
            self.remove(item)
        return batch

    def due(self) -> float | None:
        """Time at which the next lane is ripe if nothing arrives, or None if nothing waits."""
        firsts = [next(iter(lane.values())) for lane in self._lanes.values()]
        return min(item.arrived for item in firsts) + self.max_wait if firsts else None

    def _batch(self, lane: dict[int, Item]) -> tuple[list[Item], bool]:
        """The inputs of a lane that fit into a batch, and whether they fill it."""
        batch: list[Item] = []
        rows = 0
        for item in lane.values():
            if batch and (rows + item.rows) * lane_width(item.length) > self.batch_tokens:
                return batch, True
            batch.append(item)
            rows += item.rows
        first = batch[0]
        return batch, first.alone or (rows + 1) * lane_width(first.length) > self.batch_tokens

    def _joined(self, batch: list[Item]) -> list[Item]:
        """The batch, and behind it the inputs of neighbouring lanes that fit into it."""
        first = batch[0]
        if first.alone or self.width_ratio == 1:
            return batch
        width = low = high = lane_width(first.length)
        rows = sum(item.rows for item in batch)
        keys = [key for key in self._lanes if isinstance(key, tuple) and key[0] == first.kind and key[1] != width]
        for key in sorted(keys, key=lambda key: abs(key[1] - width)):
            narrow, wide = min(low, key[1]), max(high, key[1])
            if wide > self.width_ratio * narrow:
                continue
            for item in self._lanes[key].values():
                if (rows + item.rows) * wide > self.batch_tokens:
                    return batch
                batch, rows, low, high = [*batch, item], rows + item.rows, narrow, wide
        return batch


def _lane(item: Item) -> Any:
    """The key of the item's lane: its kind and width, or a number for an item alone."""
    return id(item) if item.alone else (item.kind, lane_width(item.length))


def padding(batch: list[Item]) -> tuple[int, int]:
    """Number of tokens of a batch, and of positions, padding counted."""
    longest = max(item.length for item in batch)
    return sum(item.length * item.rows for item in batch), longest * sum(item.rows for item in batch)
