"""The server's end of a model's process, with a process of the test."""

import asyncio
import contextlib
import io
import pathlib
import tempfile

import pytest

from keras_seq.serving.batcher import Gone
from keras_seq.serving.process import Failed, ModelProcess, Refused
from keras_seq.serving.wire import packed, read


class Process:
    """Stands for a process of asyncio. It ends with the code 0 when its input does, or with -9 when it is killed.

    Attributes:
        deaf: whether it goes on when its input ends.
    """

    pid = 7

    def __init__(self, deaf=False):
        self.stdin, self.stdout, self.deaf = self, asyncio.StreamReader(), deaf
        self.written, self.code, self._ended = io.BytesIO(), None, asyncio.Event()

    def write(self, content):
        self.written.write(content)

    async def drain(self):
        pass

    def close(self):
        if not self.deaf:
            self.end(0)

    def kill(self):
        if self.code is not None:
            raise ProcessLookupError
        self.end(-9)

    def end(self, code):
        if self.code is None:
            self.code = code
            self.stdout.feed_eof()
            self._ended.set()

    async def wait(self):
        await self._ended.wait()
        return self.code

    def answers(self, *messages):
        for fields in messages:
            self.stdout.feed_data(packed(fields))

    def got(self):
        """The messages that it was sent since the last call."""
        file, self.written = io.BytesIO(self.written.getvalue()), io.BytesIO()
        return [message.fields for message in iter(lambda: read(file), None)]


@pytest.fixture
def starting(monkeypatch, tmp_path):
    """`starting(test, *first)` runs `test` with a process that begins with those messages. It leaves no file."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    commands = []

    def run(test, *first, deaf=False):
        async def main():
            fake = Process(deaf)
            fake.answers(*first)

            async def create(*command, **options):
                commands.append((command, options))
                return fake

            monkeypatch.setattr(asyncio, "create_subprocess_exec", create)
            return await asyncio.wait_for(test(fake), 30)

        found = asyncio.run(main())
        assert not list(tmp_path.iterdir())
        return found

    run.commands = commands
    return run


READY = {"id": 0, "task": "translation"}


@pytest.mark.parametrize("threads, expected", [(None, "5"), (3, "3")])
def test_a_process_has_its_threads_and_a_folder_for_files(starting, monkeypatch, threads, expected):
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "5")

    async def test(fake):
        found = await ModelProcess.start("models/a", threads)
        ((command, options),) = starting.commands
        environment = options["env"]
        assert command[1:] == ("-m", "keras_seq.serving.worker", "models/a") and found.described == {
            "task": "translation"
        }
        assert environment["TF_NUM_INTRAOP_THREADS"] == environment["OMP_NUM_THREADS"] == expected
        assert pathlib.Path(environment["TMPDIR"]).is_dir()
        await found.stop()
        assert await found.ended == 0

    starting(test, READY)


@pytest.mark.parametrize(
    "first, reason",
    [
        ([{"id": 0, "error": "models/a is damaged"}], "models/a is damaged"),
        ([], "the process that loads models/a has ended with the code 3"),
    ],
)
def test_a_model_that_cannot_be_loaded(starting, first, reason):
    async def test(fake):
        fake.end(3)
        with pytest.raises(ValueError) as refused:
            await ModelProcess.start("models/a")
        assert str(refused.value) == reason

    starting(test, *first)


def test_a_start_that_is_given_up_ends_the_process(starting):
    async def test(fake):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ModelProcess.start("models/a"), 0.01)
        assert fake.code == 0

    starting(test)


def test_a_stream_yields_its_pieces_until_it_ends(starting):
    async def test(fake):
        found = await ModelProcess.start("models/a")
        fake.answers({"id": 1, "piece": "a"}, {"id": 1, "piece": "b"}, {"id": 1, "end": True})
        assert [piece async for piece in found.stream({"do": "stream", "input": "x"})] == ["a", "b"]
        assert fake.got() == [{"do": "stream", "input": "x", "id": 1}]  # no stop
        for number, bad, error in ((2, True, Refused), (3, False, Failed)):
            fake.answers({"id": number, "piece": "a"}, {"id": number, "end": True, "error": "no", "bad": bad})
            pieces = found.stream({"do": "stream"})
            assert await anext(pieces) == "a"
            with pytest.raises(error, match="^no$"):
                await anext(pieces)
        assert fake.got() == [{"do": "stream", "id": 2}, {"do": "stream", "id": 3}]
        await found.stop()

    starting(test, READY)


def test_a_caller_who_leaves_a_stream_stops_it(starting):
    async def test(fake):
        found = await ModelProcess.start("models/a")
        fake.answers({"id": 1, "piece": "a"})
        async with contextlib.aclosing(found.stream({"do": "stream"})) as pieces:
            assert await anext(pieces) == "a"
        assert fake.got() == [{"do": "stream", "id": 1}, {"id": 1, "do": "stop"}]
        fake.answers({"id": 1, "piece": "late"}, {"id": 1, "end": True}, {"id": 2, "results": ["x"]})
        assert await found.ask({"do": "details"}) == {"id": 2, "results": ["x"]}
        await found.stop()

    starting(test, READY)


def test_a_process_that_has_ended_answers_nobody(starting):
    async def test(fake):
        found = await ModelProcess.start("models/a")
        pieces = found.stream({"do": "stream"})
        waiting = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0)
        found.kill()
        with pytest.raises(Gone, match="the process of the model has ended"):
            await waiting
        assert await found.ended == -9
        with pytest.raises(Gone, match="the process of the model has ended"):
            await found.ask({"do": "details"})
        found.kill()  # as often as one likes
        await found.stop()
        assert fake.got() == [{"do": "stream", "id": 1}]

    starting(test, READY)


def test_a_process_that_does_not_end_is_killed(starting, monkeypatch):
    timeout, limits = asyncio.timeout, []

    def soon(seconds):
        limits.append(seconds)
        return timeout(0.01)

    async def test(fake):
        found = await ModelProcess.start("models/a")
        monkeypatch.setattr(asyncio, "timeout", soon)
        await found.stop()
        assert limits == [5] and await found.ended == -9

    starting(test, READY, deaf=True)


def test_who_gives_up_waiting_for_the_end_hinders_nobody(starting):
    async def test(fake):
        found = await ModelProcess.start("models/a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(found.ended, 0.001)
        await found.stop()
        assert fake.code == 0

    starting(test, READY)
