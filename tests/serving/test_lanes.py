"""The queue with a clock of the test."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from keras_seq.serving.lanes import Full, Item, Lanes, lane_width, padding


def test_inputs_of_a_lane_leave_together_after_the_wait():
    lanes = Lanes(batch_tokens=64, max_wait=0.5, max_items=10)
    short, like, long = Item("a", 3), Item("b", 8), Item("c", 9)
    lanes.add([short], 0.0)
    lanes.add([like], 0.2)
    lanes.add([long], 0.3)
    assert lanes.due() == 0.5 and lanes.take(0.49) == []
    assert lanes.take(0.5) == [short, like]
    assert lanes.due() == 0.8 and lanes.take(0.79) == [] and lanes.take(0.8) == [long]
    assert len(lanes) == 0 and lanes.due() is None


def test_a_full_batch_does_not_wait():
    lanes = Lanes(batch_tokens=16, max_wait=10.0, max_items=10)
    items = [Item(number, 5) for number in range(3)]
    lanes.add(items, 0.0)
    assert lanes.take(0.0) == items[:2] and lanes.take(0.0) == []
    assert lanes.take(0.0, all_ripe=True) == items[2:]


def test_neighbours_join_up_to_a_ratio_of_the_widths():
    """Widths 40 and 48 are within 1.25, as are 32 and 40. 32 and 48 are not."""
    lanes = Lanes(batch_tokens=1000, max_wait=1.0, max_items=20, width_ratio=1.25)
    first, near, far, short, other = Item(1, 40), Item(2, 48), Item(3, 32), Item(4, 8), Item(5, 48, kind="other")
    lanes.add([first], 0.0)
    lanes.add([near, far, short, other], 0.9)
    assert lanes.take(1.0) == [first, near]
    assert len(lanes) == 3 and lanes.take(1.0) == []
    assert [lanes.take(1.9) for _ in range(3)] == [[far], [short], [other]]


def test_neighbours_join_within_the_budget_by_the_larger_width():
    lanes = Lanes(batch_tokens=48 * 3, max_wait=1.0, max_items=20, width_ratio=1.25)
    lanes.add([Item(1, 40), Item(2, 40)], 0.0)
    lanes.add([Item(3, 48), Item(4, 48)], 0.5)
    assert [item.content for item in lanes.take(1.0)] == [1, 2, 3]
    lanes.add([Item(5, 40, alone=True)], 2.0)
    assert [[item.content for item in lanes.take(9.0)] for _ in range(2)] == [[4], [5]]


def test_an_input_beyond_the_budget_is_a_batch_of_its_own():
    lanes = Lanes(batch_tokens=16, max_wait=10.0, max_items=10)
    lanes.add([Item("long", 100), Item("longer", 100)], 0.0)
    assert [item.content for item in lanes.take(0.0)] == ["long"]


def test_kinds_and_lone_inputs_share_no_batch():
    lanes = Lanes(batch_tokens=1000, max_wait=0.0, max_items=10)
    lanes.add([Item(1, 4, kind="beam"), Item(2, 4, kind="greedy"), Item(3, 4, kind="beam", alone=True)], 0.0)
    lanes.add([Item(4, 4, kind="beam")], 1.0)
    batches = [[item.content for item in lanes.take(1.0)] for _ in range(3)]
    assert sorted(batches) == [[1, 4], [2], [3]]


def test_the_lane_that_waited_longest_is_next():
    lanes = Lanes(batch_tokens=8, max_wait=1.0, max_items=100)
    lanes.add([Item("rare", 50)], 0.0)
    for number in range(20):
        lanes.add([Item(number, 4)], 0.1)
    assert lanes.take(1.0)[0].content == "rare"


def test_rows_count():
    lanes = Lanes(batch_tokens=32, max_wait=9.0, max_items=9)
    lanes.add([Item(1, 8, rows=3), Item(2, 8, rows=2)], 0.0)
    assert [item.content for item in lanes.take(0.0)] == [1]


def test_a_request_is_added_as_a_whole_or_not_at_all():
    lanes = Lanes(batch_tokens=32, max_wait=1.0, max_items=3)
    lanes.add([Item(1, 1), Item(2, 1)], 0.0)
    with pytest.raises(Full, match="2 inputs wait, and the queue holds 3"):
        lanes.add([Item(3, 1), Item(4, 1)], 0.0)
    assert len(lanes) == 2


def test_a_removed_input_makes_room():
    lanes = Lanes(batch_tokens=32, max_wait=1.0, max_items=1)
    item = Item(1, 1)
    lanes.add([item], 0.0)
    assert lanes.remove(item) and not lanes.remove(item)
    lanes.add([Item(2, 1)], 5.0)
    assert lanes.due() == 6.0


def test_padding_of_a_batch():
    assert padding([Item("", 3), Item("", 5, rows=2)]) == (13, 15)


@pytest.mark.parametrize("name, value", [("batch_tokens", 0), ("max_wait", -1), ("max_items", 0), ("width_ratio", 0)])
def test_a_number_out_of_its_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be at least .. Received: {value}"):
        Lanes(**{"batch_tokens": 8, "max_wait": 1.0, "max_items": 8, name: value})


@given(st.integers(0, 5000))
def test_the_width_of_a_lane_is_that_of_the_batches_of_tasks(length):
    from keras_seq.tasks.batching import padded_width

    assert lane_width(length) == padded_width(max(length, 1))


class AnyOrder(RuleBasedStateMachine):
    """Every input leaves exactly once, with its like, in order of its lane, within the budget."""

    ratio = 1.0

    def __init__(self):
        super().__init__()
        self.lanes = Lanes(batch_tokens=40, max_wait=3.0, max_items=12, width_ratio=self.ratio)
        self.now, self.number, self.waiting, self.gone = 0.0, 0, {}, set()

    @rule(kinds=st.lists(st.tuples(st.integers(0, 60), st.sampled_from("ab"), st.booleans()), max_size=5))
    def arrive(self, kinds):
        items = [Item(self.number + place, length, kind, 1, alone) for place, (length, kind, alone) in enumerate(kinds)]
        try:
            self.lanes.add(items, self.now)
        except Full:
            assert len(self.waiting) + len(items) > 12
            return
        self.number += len(items)
        self.waiting |= {item.content: item for item in items}

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 5.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(place=st.integers(0, 20))
    def give_up(self, place):
        if place in self.waiting:
            assert self.lanes.remove(self.waiting.pop(place))
            self.gone.add(place)

    @rule(all_ripe=st.booleans())
    def take(self, all_ripe):
        batch = self.lanes.take(self.now, all_ripe)
        if not batch:
            assert not self.waiting or (not all_ripe and self.now < self.lanes.due())
            return
        first = batch[0]
        assert first.arrived == min(
            (item.arrived for item in self.waiting.values() if item.arrived + 3.0 <= self.now), default=first.arrived
        )
        widths = [lane_width(item.length) for item in batch]
        assert len(batch) == 1 or len(batch) * max(widths) <= 40
        assert max(widths) <= self.ratio * min(widths) and len({item.kind for item in batch}) == 1
        assert len(batch) == 1 or not any(item.alone for item in batch)
        for width in set(widths):
            lane = [item.content for item, found in zip(batch, widths, strict=True) if found == width]
            assert lane == sorted(lane)
        for number in (item.content for item in batch):
            assert self.waiting.pop(number) is not None and number not in self.gone
            self.gone.add(number)

    @invariant()
    def the_count_is_right(self):
        assert len(self.lanes) == len(self.waiting)

    def teardown(self):
        while batch := self.lanes.take(self.now, all_ripe=True):
            for item in batch:
                self.waiting.pop(item.content)
        assert not self.waiting and self.lanes.due() is None


class AnyOrderOfNeighbours(AnyOrder):
    ratio = 2.0


TestAnyOrder, TestAnyOrderOfNeighbours = AnyOrder.TestCase, AnyOrderOfNeighbours.TestCase
TestAnyOrder.settings = TestAnyOrderOfNeighbours.settings = settings(max_examples=40, stateful_step_count=30)
