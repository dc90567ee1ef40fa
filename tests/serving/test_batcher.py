"""The batcher with models that are functions of the test."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_seq.serving.batcher import Batcher, Gone
from keras_seq.serving.lanes import Full, Item, Lanes, lane_width


class Upper:
    """A model that returns its texts in capitals, and notes its batches. "bad" is an error of its own."""

    def __init__(self, seconds=0.0):
        self.batches, self.seconds, self.gate = [], seconds, None

    async def __call__(self, batch):
        self.batches.append([item.content for item in batch])
        await (asyncio.sleep(self.seconds) if self.gate is None else self.gate.wait())
        return [ValueError("bad") if item.content == "bad" else item.content.upper() for item in batch]


def run(test, model, **options):
    async def main():
        batcher = Batcher(Lanes(**{"batch_tokens": 64, "max_wait": 0.01, "max_items": 100, **options}))
        worker = asyncio.create_task(batcher.run(model))
        try:
            return await asyncio.wait_for(test(batcher), 30)
        finally:
            worker.cancel()

    return asyncio.run(main())


def items(*texts, **options):
    return [Item(text, len(text), **options) for text in texts]


def test_requests_at_one_time_share_a_batch_and_get_their_own_results():
    model = Upper()

    async def test(batcher):
        return await asyncio.gather(batcher.submit(items("a", "b")), batcher.submit(items("c")))

    assert run(test, model) == [["A", "B"], ["C"]] and model.batches == [["a", "b", "c"]]


def test_a_bad_input_fails_alone():
    async def test(batcher):
        return await asyncio.gather(batcher.submit(items("a", "bad")), batcher.submit(items("c")))

    (one, failure), (other,) = run(test, Upper())
    assert one == "A" and other == "C" and isinstance(failure, ValueError)


def test_a_model_that_fails_fails_for_its_batch_and_goes_on():
    async def fails_first(batch):
        if batch[0].content == "a":
            raise RuntimeError("lost")
        return [item.content for item in batch]

    async def test(batcher):
        (first,) = await batcher.submit(items("a"))
        return first, await batcher.submit(items("b"))

    first, second = run(test, fails_first)
    assert isinstance(first, RuntimeError) and second == ["b"]


def test_a_process_that_is_gone_loses_its_batch_and_no_other():
    async def gone(batch):
        await asyncio.sleep(0.01)
        raise Gone("gone")

    async def test(batcher):
        requests = [asyncio.create_task(batcher.submit(items(text))) for text in ("a", "longer text")]
        lost, _ = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
        assert [type(result) for request in lost for result in request.result()] == [Gone]
        await asyncio.sleep(0.05)
        assert len(batcher.lanes) == 1
        other = asyncio.create_task(batcher.run(Upper()))
        found = [await request for request in requests if request not in lost]
        other.cancel()
        return found

    assert run(test, gone) == [["LONGER TEXT"]]


def test_the_end_of_the_server_is_told_to_whom_it_leaves():
    model = Upper(seconds=3600)

    async def main():
        batcher = Batcher(Lanes(64, 0.0, 100))
        computing = asyncio.create_task(batcher.run(model))
        asked = asyncio.create_task(batcher.submit(items("a", "b")))
        while not model.batches:
            await asyncio.sleep(0)
        computing.cancel()
        return await asked, (await asyncio.gather(computing, return_exceptions=True))[0]

    results, ended = asyncio.run(main())
    assert [repr(result) for result in results] == ["ConnectionError('the server ends')"] * 2
    assert isinstance(ended, asyncio.CancelledError)


@pytest.mark.parametrize("turns", range(6))
def test_a_batcher_that_is_cancelled_ends_although_something_arrives(turns):
    """In Python 3.11 `asyncio.wait_for` may not pass a cancellation on."""

    async def main():
        batcher = Batcher(Lanes(64, 3600.0, 100))
        asked = [asyncio.create_task(batcher.submit(items("a")))]
        await asyncio.sleep(0)
        computing = asyncio.create_task(batcher.run(Upper()))
        while batcher.lanes.due() is None or batcher._arrived.is_set():
            await asyncio.sleep(0)
        asked.append(asyncio.create_task(batcher.submit(items("b"))))
        for _ in range(turns):
            await asyncio.sleep(0)
        computing.cancel()
        await asyncio.wait([computing], timeout=1)
        ended = computing.cancelled()
        for task in (computing, *asked):
            task.cancel()
        return ended

    assert asyncio.run(main())


def test_what_nobody_waits_for_is_not_computed():
    model = Upper()

    async def test(batcher):
        model.gate = asyncio.Event()
        first = asyncio.create_task(batcher.submit(items("a")))
        while not model.batches:
            await asyncio.sleep(0.001)
        gone = asyncio.create_task(batcher.submit(items("gone")))
        stays = asyncio.create_task(batcher.submit(items("stays")))
        await asyncio.sleep(0.02)
        gone.cancel()
        await asyncio.wait([gone])
        assert len(batcher.lanes) == 1
        model.gate.set()
        return [await first, await stays]

    assert run(test, model) == [["A"], ["STAYS"]] and model.batches == [["a"], ["stays"]]


def test_a_result_for_a_caller_who_left_during_the_computation_is_dropped():
    model = Upper()

    async def test(batcher):
        model.gate = asyncio.Event()
        gone, stays = (asyncio.create_task(batcher.submit(items(text))) for text in ("gone", "stays"))
        while not model.batches:
            await asyncio.sleep(0.001)
        gone.cancel()
        model.gate.set()
        return await stays

    assert run(test, model) == ["STAYS"] and model.batches == [["gone", "stays"]]


def test_a_full_queue_refuses():
    model = Upper()

    async def test(batcher):
        model.gate = asyncio.Event()
        first = asyncio.create_task(batcher.submit(items("a")))
        while not model.batches:
            await asyncio.sleep(0.001)
        waiting = asyncio.create_task(batcher.submit(items("b", "c")))
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await batcher.submit(items("d"))
        model.gate.set()
        return [await first, await waiting]

    assert run(test, model, max_items=2) == [["A"], ["B", "C"]]


def test_two_processes_compute_at_the_same_time():
    gate, running = asyncio.Event(), []

    async def slow(batch):
        running.append(batch)
        await gate.wait()
        return [item.content for item in batch]

    async def test(batcher):
        other = asyncio.create_task(batcher.run(slow))
        requests = [asyncio.create_task(batcher.submit(items(text))) for text in ("a", "long and longer")]
        while len(running) < 2:
            await asyncio.sleep(0.001)
        gate.set()
        found = [await request for request in requests]
        other.cancel()
        return found

    assert run(test, slow) == [["a"], ["long and longer"]]


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.tuples(st.integers(1, 60), st.sampled_from("xy")), min_size=1, max_size=6), max_size=20),
    st.integers(1, 200),
)
def test_every_input_gets_its_own_result_whatever_arrives_together(requests, batch_tokens):
    batches = []

    async def echo(batch):
        batches.append(batch)
        await asyncio.sleep(0)
        return [item.content for item in batch]

    async def test(batcher):
        made = [
            [Item((n, m), length, kind) for m, (length, kind) in enumerate(some)] for n, some in enumerate(requests)
        ]
        found = await asyncio.gather(*(batcher.submit(some) for some in made))
        assert found == [[item.content for item in some] for some in made]

    run(test, echo, batch_tokens=batch_tokens, max_items=1000, max_wait=0.001)
    assert sum(map(len, batches)) == sum(map(len, requests))
    for batch in batches:
        assert len({(item.kind, lane_width(item.length)) for item in batch}) == 1
        assert len(batch) == 1 or len(batch) * lane_width(batch[0].length) <= batch_tokens
