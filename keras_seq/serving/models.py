"""The models of a server: which of their versions is served, and their reloading."""

import asyncio
import contextlib
import pathlib
from collections.abc import Callable

from keras_seq.serving.folders import stamp, versions
from keras_seq.serving.process import ModelProcess
from keras_seq.serving.settings import Settings
from keras_seq.serving.version import Start, Version


class Model:
    """A model by its name: the version that is served, and the folder that newer ones appear in.

    Args:
        name: its name in URLs.
        path: a folder with a model, or with versions named by numbers.
        start, observe, log: see `Version`. `observe` and `log` also get the name.
    """

    def __init__(
        self,
        name: str,
        path: pathlib.Path,
        settings: Settings,
        observe: Callable = lambda *_: None,
        log: Callable = lambda *_, **__: None,
        start: Start = ModelProcess.start,
    ):
        self.name, self.path, self.settings, self._start = name, path, settings, start
        self._observe = lambda *facts: observe(name, *facts)
        self._log = lambda event, **fields: log(event, model=name, **fields)
        self.current: Version | None = None
        self._failed: dict[int, tuple] = {}
        self._watching: asyncio.Task | None = None
        self._retiring: set[asyncio.Task] = set()

    async def start(self) -> None:
        """Serves the newest version that can be loaded, and watches for newer ones.

        Raises:
            ValueError: if there is none.
        """
        found = versions(self.path)
        if not found:
            raise ValueError(
                f"{self.path} has neither a model (best.keras, saved_model.pb, model.bin) nor folders of versions, "
                "named by numbers. Give another folder."
            )
        reasons = [reason for number in sorted(found, reverse=True) if (reason := await self._try(number, found))]
        if self.current is None:
            raise ValueError(f"{self.name} cannot be served: {reasons[0]}")
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await asyncio.gather(*self._retiring, return_exceptions=True)
        if self.current is not None:
            await self.current.stop()

    @property
    def ready(self) -> bool:
        """Whether a process can compute."""
        current = self.current
        return current is not None and any(not process.ended.done() for process in current.processes.values())

    async def look(self) -> None:
        """Loads a newer version, if there is one."""
        found = versions(self.path)
        for number in sorted(found, reverse=True):
            if self.current is not None and number <= self.current.number:
                return
            if self._failed.get(number) != stamp(found[number]) and await self._try(number, found) is None:
                return

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.settings.poll_seconds)
            with contextlib.suppress(OSError):  # of a folder that is being replaced
                await self.look()

    async def _try(self, number: int, found: dict[int, pathlib.Path]) -> str | None:
        """Loads a version in place of the current one. Returns the reason if it cannot be loaded."""
        if self.current is not None and number < self.current.number:
            return None
        before, folder = stamp(found[number]), found[number]
        version = Version(number, folder, self.settings, self._start, self._observe, self._log)
        try:
            await version.start()
        except (ValueError, OSError) as error:
            self._failed[number] = before
            self._log("version_not_loaded", version=number, reason=str(error))
            return str(error)
        old, self.current = self.current, version
        self._log("version_loaded", version=number, folder=str(folder))
        if old is not None:
            task = asyncio.create_task(_retire(old))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)
        return None


async def _retire(version: Version) -> None:
    await version.drain()
    await version.stop()
