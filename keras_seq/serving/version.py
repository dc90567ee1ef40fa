"""A version of a served model: its processes, and the queue that they share."""

import asyncio
import contextlib
import itertools
import pathlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from keras_seq.serving import requests
from keras_seq.serving.batcher import Batcher, Gone
from keras_seq.serving.lanes import Full, Item, Lanes
from keras_seq.serving.process import Failed, ModelProcess, Refused
from keras_seq.serving.settings import Settings

LONGEST_PAUSE = 30.0  # seconds between two attempts to start a process
LOAD_SECONDS = 900.0  # limit for the start of a process and the loading of its model

Start = Callable[[str, int | None], Any]


class Version:
    """A version of a model: its processes, and the queue that they share.

    Args:
        number: its number.
        folder: its folder.
        start: function that starts a process, `ModelProcess.start`.
        observe: see `Batcher`.
        log: function of an event's name and its fields.
    """

    def __init__(
        self, number: int, folder: pathlib.Path, settings: Settings, start: Start, observe: Callable, log: Callable
    ):
        self.number, self.folder, self.settings = number, folder, settings
        lanes = Lanes(settings.batch_tokens, settings.max_wait_ms / 1000, settings.max_queue)
        self.batcher = Batcher(lanes, observe)
        self._start, self._log = start, log
        self.processes: dict[int, ModelProcess] = {}
        self._tasks: list[asyncio.Task] = []
        self._turn = itertools.count()
        self._streams = self._asked = 0
        self.described: dict[str, Any] = {}
        self.signatures: dict[str, Any] | None = None

    async def start(self) -> None:
        """Starts the processes.

        Raises:
            ValueError: if the model cannot be loaded.
        """
        first = await self._started()
        self.described = first.described
        if self.described["joins_widths"]:
            self.batcher.lanes.width_ratio = self.settings.width_ratio
        for place in range(self.settings.workers):
            self._tasks.append(asyncio.create_task(self._keep(place, first if place == 0 else None)))
        self.processes[0] = first

    async def answer(self, items: list[Item]) -> list[Any]:
        """The result of each item, or an exception."""
        self._asked += 1
        try:
            return await self.batcher.submit(items)
        finally:
            self._asked -= 1

    async def ask(self, **fields: Any) -> dict[str, Any]:
        """Asks one of the processes, beside its batches."""
        self._asked += 1
        try:
            return await self._next_process().ask(fields)
        finally:
            self._asked -= 1

    async def stream(self, text: str, options: dict[str, Any]) -> AsyncIterator[str]:
        """Pieces of a text.

        Raises:
            Full: if too many texts stream already.
        """
        if self._streams >= self.settings.max_streams:
            raise Full(f"{self._streams} texts are streamed already, as many as this server streams at a time")
        self._streams += 1
        try:
            pieces = self._next_process().stream({"do": "stream", "input": text, "options": options})
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    yield piece
        finally:
            self._streams -= 1

    async def drain(self) -> None:
        """Waits until all requests to this version are answered."""
        while self._asked or self._streams:
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Ends the processes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(process.stop() for process in self.processes.values()))

    async def _started(self) -> ModelProcess:
        """A process that has computed once, so that the first request need not wait for compilation."""
        try:
            async with asyncio.timeout(LOAD_SECONDS):  # `asyncio.wait_for` of Python 3.11 may lose a cancellation
                process = await self._start(str(self.folder), self.settings.threads)
        except TimeoutError:
            raise ValueError(f"{self.folder} was not loaded within {LOAD_SECONDS:g} seconds") from None
        try:
            for item in requests.warm_up(process.described, self.settings):
                await self._within_limit(process, process.ask(requests.message([item])[0]))
        except (Gone, Refused, Failed) as error:
            await process.stop()
            raise ValueError(f"the model fails at its first input: {error}") from error
        except BaseException:
            await process.stop()
            raise
        return process

    def _next_process(self) -> ModelProcess:
        running = [process for process in self.processes.values() if not process.ended.done()]
        if not running:
            raise Gone("no process of the model runs")
        return running[next(self._turn) % len(running)]

    async def _keep(self, place: int, process: ModelProcess | None) -> None:
        """Computes batches in a process, and replaces the process when it ends."""
        pause = 0.5
        while True:
            try:
                process = process or await self._started()
            except (ValueError, OSError) as error:
                self._log("process_not_started", folder=str(self.folder), reason=str(error))
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            self.processes[place], pause = process, 0.5
            await self._compute(process)
            self._log("process_ended", pid=process.pid, code=process.ended.result())
            process = None

    async def _within_limit(self, process: ModelProcess, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of work of a process, which is ended if that takes longer than `batch_seconds`.

        Raises:
            Gone: if it has taken longer.
        """
        seconds = self.settings.batch_seconds
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            self._log("process_hangs", pid=process.pid, seconds=seconds)
            process.kill()
            raise Gone(f"the process of the model computed for more than {seconds:g} seconds and was ended") from None

    async def _compute(self, process: ModelProcess) -> None:
        async def compute(batch: list[Item]) -> list[Any]:
            answer = await self._within_limit(process, process.ask(*requests.message(batch)))
            return requests.results(batch, answer)

        computing = asyncio.create_task(self.batcher.run(compute))
        try:
            await asyncio.wait([process.ended])
            await asyncio.sleep(0)  # the batch that it leaves gets its error first
        finally:
            computing.cancel()
            await asyncio.gather(computing, return_exceptions=True)
