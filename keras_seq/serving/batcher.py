"""Batches from the queue of a model, computed one after another by each of its processes."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from keras_seq.serving.lanes import Item, Lanes


class Gone(Exception):
    """What computed has ended, and computes no more."""


Compute = Callable[[list[Item]], Awaitable[list[Any]]]


class Batcher:
    """Joins inputs to batches, and gives each input its result.

    Args:
        lanes: the queue.
        observe: function that is called with a batch, the seconds that its first input waited and those of the
            computation.
        clock: function that returns the time in seconds.
    """

    def __init__(
        self,
        lanes: Lanes,
        observe: Callable[[list[Item], float, float], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.lanes, self._observe, self._clock = lanes, observe, clock
        self._arrived = asyncio.Event()

    async def submit(self, items: list[Item]) -> list[Any]:
        """The results of inputs, in their order: what `compute` returned for each, or an exception.

        An input whose caller is cancelled leaves the queue. If its batch is being computed, its result is dropped.

        Raises:
            lanes.Full: if the queue is full.
        """
        loop = asyncio.get_running_loop()
        for item in items:
            item.answer = loop.create_future()
        self.lanes.add(items, self._clock())
        self._arrived.set()
        try:
            return await asyncio.gather(*(item.answer for item in items), return_exceptions=True)
        finally:
            for item in items:
                self.lanes.remove(item)
                item.answer.cancel()

    async def run(self, compute: Compute) -> None:
        """Computes batches until it is cancelled, or `compute` raises `Gone`. Several of these may run, one for each
        process."""
        while True:
            batch = await self._next()
            started = self._clock()
            try:
                results = await compute(batch)
            except asyncio.CancelledError:
                _settle(batch, [ConnectionError("the server ends")] * len(batch))
                raise
            except Gone as error:
                _settle(batch, [error] * len(batch))
                return
            except Exception as error:
                results = [error] * len(batch)
            _settle(batch, results)
            self._observe(batch, started - batch[0].arrived, self._clock() - started)

    async def _next(self) -> list[Item]:
        while True:
            if batch := self.lanes.take(self._clock()):
                if len(self.lanes):
                    self._arrived.set()  # for another process
                return batch
            self._arrived.clear()
            due = self.lanes.due()
            wait = None if due is None else max(0.0, due - self._clock())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._arrived.wait()


def _settle(batch: list[Item], results: list[Any]) -> None:
    for item, result in zip(batch, results, strict=True):
        if item.answer.done():  # its caller has left
            continue
        if isinstance(result, Exception):
            item.answer.set_exception(result)
        else:
            item.answer.set_result(result)
