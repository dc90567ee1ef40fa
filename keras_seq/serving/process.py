"""The server's end of a model's process."""

import asyncio
import contextlib
import itertools
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from typing import Any

from keras_seq.serving.batcher import Gone
from keras_seq.serving.wire import packed, read_async


class Refused(Exception):
    """The model refuses a request: the request is wrong."""


class Failed(Exception):
    """The model fails at a request that is right."""


class ModelProcess:
    """A process that has loaded one model. Made by `start`.

    Attributes:
        described: what the process tells of its task, see `describing.description`.
        ended: future that is done when the process has ended.
    """

    def __init__(self, process: asyncio.subprocess.Process, scratch: tempfile.TemporaryDirectory):
        self._process = process
        self._scratch = scratch
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self.described: dict[str, Any] = {}
        self.ended = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task | None = None

    @classmethod
    async def start(cls, folder: str, threads: int | None = None) -> "ModelProcess":
        """Starts a process and waits until it has loaded the model in a folder.

        Args:
            threads: number of threads of an operation (None: TensorFlow's choice).
        Raises:
            ValueError: if the model cannot be loaded, with the reason.
        """
        environment = dict(os.environ)
        if threads is not None:
            environment |= {"TF_NUM_INTRAOP_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        # The sound files of requests lie here. The server removes the folder when the process has ended, also by force.
        scratch = tempfile.TemporaryDirectory(prefix="keras-seq-", ignore_cleanup_errors=True)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "keras_seq.serving.worker", folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment | {"TMPDIR": scratch.name},
            start_new_session=True,  # Ctrl-C is for the server, which ends its models when it is done
        )
        self = cls(process, scratch)
        try:
            first = await read_async(process.stdout)
        except asyncio.IncompleteReadError:
            code = await self._wait()
            raise ValueError(f"the process that loads {folder} has ended with the code {code}") from None
        except BaseException:
            await self.stop()
            raise
        if "error" in first.fields:
            await self._wait()
            raise ValueError(first.fields["error"])
        self.described = {name: value for name, value in first.fields.items() if name != "id"}
        self._reading = asyncio.create_task(self._read())
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, fields: dict[str, Any], blobs: Sequence[bytes] = ()) -> dict[str, Any]:
        """Sends a message and waits for its answer.

        Raises:
            Gone: if the process ends before.
            Refused, Failed: if the answer is an error.
        """
        number, answers = await self._send(fields, blobs)
        try:
            return _checked(await answers.get())
        finally:
            self._waiting.pop(number, None)

    async def stream(self, fields: dict[str, Any]) -> AsyncIterator[str]:
        """Sends a message and yields the pieces of its answer. If the caller stops, the process does.

        Raises:
            Gone, Refused, Failed: see `ask`.
        """
        number, answers = await self._send(fields, ())
        ended = False
        try:
            while True:
                answer = await answers.get()
                ended = "piece" not in answer
                _checked(answer)
                if ended:
                    return
                yield answer["piece"]
        finally:
            self._waiting.pop(number, None)
            if not ended:
                self._write(packed({"id": number, "do": "stop"}))

    def kill(self) -> None:
        """Ends the process by force. `ended` tells when that has happened."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def stop(self) -> None:
        """Ends the process: by the end of its input, and if that takes over five seconds, by force."""
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._wait()
        except TimeoutError:
            self.kill()
            await self._wait()
        if self._reading is not None:
            await self._reading

    async def _wait(self) -> int:
        """The exit code of the process, when it has ended and its temporary folder is removed."""
        code = await self._process.wait()
        self._scratch.cleanup()
        return code

    async def _send(self, fields: dict[str, Any], blobs: Sequence[bytes]) -> tuple[int, asyncio.Queue]:
        if self.ended.done():
            raise Gone("the process of the model has ended")
        number, answers = next(self._numbers), asyncio.Queue()
        self._waiting[number] = answers
        self._write(packed({**fields, "id": number}, blobs))
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.drain()
        return number, answers

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):  # the process has ended, which `_read` tells
            self._process.stdin.write(content)

    async def _read(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                message = await read_async(self._process.stdout)
                answers = self._waiting.get(message.fields["id"])
                if answers is not None:
                    answers.put_nowait(message.fields)
        code = await self._wait()
        if not self.ended.done():
            self.ended.set_result(code)
        for answers in self._waiting.values():
            answers.put_nowait({"gone": True})


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "gone" in answer:
        raise Gone("the process of the model has ended")
    if "error" in answer:
        raise (Refused if answer.get("bad") else Failed)(answer["error"])
    return answer
