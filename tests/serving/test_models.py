"""Versions of a model with processes of the test: newer ones, broken ones, and ones that end."""

import asyncio
import shutil

import pytest

from keras_seq.serving.batcher import Gone
from keras_seq.serving.folders import names_of, stamp, versions
from keras_seq.serving.lanes import Item
from keras_seq.serving.models import Model
from keras_seq.serving.settings import Settings
from tests.serving.conftest import FakeProcess


def add(path, number, file="best.keras", content=b""):
    (path / str(number)).mkdir(parents=True, exist_ok=True)
    (path / str(number) / file).write_bytes(content)


class Starts:
    """Starts fake processes. A folder whose best.keras holds "broken" cannot be loaded."""

    def __init__(self):
        self.processes, self.tried = [], []

    async def __call__(self, folder, threads):
        self.tried.append(folder.rsplit("/", 1)[1])
        with open(f"{folder}/best.keras", "rb") as file:
            if file.read() == b"broken":
                raise ValueError("it is broken")
        self.processes.append(FakeProcess(folder))
        return self.processes[-1]


def run(path, test, **options):
    starts, events = Starts(), []
    settings = Settings(**{"poll_seconds": 60.0, "max_wait_ms": 1.0, **options})

    async def main():
        model = Model("m", path, settings, log=lambda event, **fields: events.append((event, fields)), start=starts)
        await model.start()
        try:
            await asyncio.wait_for(test(model, starts, events), 30)
        finally:
            await model.stop()

    asyncio.run(main())
    assert all(process.closed for process in starts.processes if process.ended.result() == 0)


def item(text):
    return Item({"inputs": [text], "numbers": None, "blobs": []}, 1, ("details", "{}"))


def test_the_largest_number_is_served(tmp_path):
    add(tmp_path, 9)
    add(tmp_path, 10)
    add(tmp_path, "11x")
    (tmp_path / "12").mkdir()

    async def test(model, starts, events):
        assert model.current.number == 10 and model.ready and starts.tried == ["10"]

    run(tmp_path, test)


def test_a_newer_version_takes_over_and_the_old_one_answers_what_it_has(tmp_path):
    add(tmp_path, 1)

    async def test(model, starts, events):
        old = model.current
        answer = asyncio.create_task(old.answer([item("slow")]))
        await asyncio.sleep(0.05)
        add(tmp_path, 2)
        await model.look()
        assert model.current.number == 2 and not starts.processes[0].closed
        assert await model.current.answer([item("a")]) == [[{"text": "A"}]]
        assert await answer == [[{"text": "SLOW"}]]
        while not starts.processes[0].closed:
            await asyncio.sleep(0.01)

    run(tmp_path, test)


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_and_is_tried_again_when_it_changes(tmp_path):
    add(tmp_path, 1)

    async def test(model, starts, events):
        add(tmp_path, 2, content=b"broken")
        await model.look()
        await model.look()
        assert model.current.number == 1 and starts.tried == ["1", "2"]
        assert ("version_not_loaded", {"model": "m", "version": 2, "reason": "it is broken"}) in events
        assert await model.current.answer([item("a")]) == [[{"text": "A"}]]
        add(tmp_path, 2, content=b"whole now")
        await model.look()
        assert model.current.number == 2

    run(tmp_path, test)


def test_a_version_that_fails_at_its_first_input_is_not_served(tmp_path):
    add(tmp_path, 1)

    async def test(model, starts, events):
        async def fails(fields, blobs=()):
            from keras_seq.serving.process import Failed

            raise Failed("no memory")

        start = model._start

        async def start_failing(folder, threads):
            process = await start(folder, threads)
            process.ask = fails
            return process

        model._start = start_failing
        add(tmp_path, 2)
        await model.look()
        assert model.current.number == 1 and starts.processes[1].closed
        assert "the model fails at its first input: no memory" in events[-1][1]["reason"]

    run(tmp_path, test)


def test_a_version_that_hangs_is_not_served(tmp_path, monkeypatch):
    """While it is loaded, and at its first input."""
    add(tmp_path, 1)

    async def never(*_):
        await asyncio.sleep(3600)

    async def test(model, starts, events):
        start = model._start
        monkeypatch.setattr("keras_seq.serving.version.LOAD_SECONDS", 0.05)
        model._start = never
        add(tmp_path, 2)
        await model.look()
        assert model.current.number == 1 and "was not loaded within 0.05 seconds" in events[-1][1]["reason"]

        async def start_hanging(folder, threads):
            process = await start(folder, threads)
            process.ask = never
            return process

        model._start = start_hanging
        add(tmp_path, 3)
        await model.look()
        assert model.current.number == 1 and "computed for more than 0.05 seconds" in events[-1][1]["reason"]
        assert await model.current.answer([item("a")]) == [[{"text": "A"}]]

    run(tmp_path, test, batch_seconds=0.05)


def test_the_folder_is_watched(tmp_path):
    add(tmp_path, 1)

    async def test(model, starts, events):
        add(tmp_path, 2)
        while model.current.number == 1:
            await asyncio.sleep(0.01)

    run(tmp_path, test, poll_seconds=0.02)


def test_at_the_start_an_older_version_serves_if_the_newest_is_broken(tmp_path):
    add(tmp_path, 1)
    add(tmp_path, 2, content=b"broken")

    async def test(model, starts, events):
        assert model.current.number == 1

    run(tmp_path, test)


def test_without_a_version_that_can_be_loaded_nothing_starts(tmp_path):
    add(tmp_path, 1, content=b"broken")
    with pytest.raises(ValueError, match="m cannot be served: it is broken"):
        run(tmp_path, None)
    with pytest.raises(ValueError, match="neither a model .* nor folders of versions"):
        run(tmp_path / "1" / "none", None)


def test_of_two_processes_one_ends_and_the_other_goes_on(tmp_path):
    add(tmp_path, 1)

    async def test(model, starts, events):
        while len(starts.processes) < 2 or len(model.current.processes) < 2:
            await asyncio.sleep(0.01)
        lost, *others = await asyncio.gather(*(model.current.answer([item(text)]) for text in ("crash", "a")))
        assert isinstance(lost[0], Exception)
        assert (await model.current.answer([item("b")])) == [[{"text": "B"}]] and model.ready
        while len(starts.processes) < 3:
            await asyncio.sleep(0.01)

    run(tmp_path, test, workers=2, max_wait_ms=0.0, batch_tokens=8)


def test_a_start_that_is_given_up_ends_its_process(tmp_path):
    """At its first input, as when the server is ended meanwhile."""
    add(tmp_path, 1)

    async def test(model, starts, events):
        async def never(*_):
            await asyncio.sleep(3600)

        start, asked = model._start, asyncio.Event()

        async def start_hanging(folder, threads):
            process = await start(folder, threads)
            process.ask = never
            asked.set()
            return process

        model._start = start_hanging
        add(tmp_path, 2)
        looking = asyncio.create_task(model.look())
        await asked.wait()
        looking.cancel()
        await asyncio.wait([looking])
        assert looking.cancelled() and starts.processes[1].closed and model.current.number == 1

    run(tmp_path, test)


def test_a_process_that_does_not_start_again_is_tried_after_longer_and_longer_pauses(tmp_path, monkeypatch):
    add(tmp_path, 1)
    sleep, pauses = asyncio.sleep, []

    async def test(model, starts, events):
        async def paused(seconds):
            if seconds:  # no wait of the batcher
                pauses.append(seconds)
                if len(pauses) == 8:
                    add(tmp_path, 1)
            await sleep(0)

        monkeypatch.setattr("keras_seq.serving.version.LONGEST_PAUSE", 10.0)
        add(tmp_path, 1, content=b"broken")
        monkeypatch.setattr("keras_seq.serving.version.asyncio.sleep", paused)
        starts.processes[0].kill()
        while not model.ready:
            with pytest.raises(Gone, match="no process of the model runs"):
                await model.current.ask(do="signatures")
            await sleep(0)
        assert (await model.current.ask(do="signatures"))["signatures"].keys() == {"translate"}
        reasons = [fields["reason"] for event, fields in events if event == "process_not_started"]
        assert reasons == ["it is broken"] * 8

    run(tmp_path, test)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]


def test_a_folder_that_is_removed_leaves_its_version_serving(tmp_path):
    add(tmp_path, 1)

    async def test(model, starts, events):
        shutil.rmtree(tmp_path / "1")
        await model.look()
        assert model.current.number == 1 and await model.current.answer([item("a")]) == [[{"text": "A"}]]

    run(tmp_path, test)


def test_a_folder_has_changed_when_one_of_its_files_has(tmp_path):
    (tmp_path / "a").write_text("x")
    before = stamp(tmp_path)
    assert [(name, size) for name, size, _ in before] == [(str(tmp_path / "a"), 1)]
    (tmp_path / "b").symlink_to(tmp_path / "gone")  # as a file that is removed meanwhile
    assert stamp(tmp_path) == before
    (tmp_path / "a").write_text("longer")
    assert stamp(tmp_path) != before and stamp(tmp_path / "a") == stamp(tmp_path)


def test_names_are_those_of_folders_or_given(tmp_path):
    for name in ("one", "two", "bad name"):
        (tmp_path / name).mkdir()
    one, two, bad = (tmp_path / name for name in ("one", "two", "bad name"))
    assert names_of([one, two]) == {"one": one, "two": two}
    assert names_of([one, bad], ["a", "b"]) == {"a": one, "b": bad}
    assert versions(one) == {}
    (one / "saved_model.pb").touch()
    assert versions(one) == {1: one}
    for paths, names, reason in (
        ([bad], [], "has other characters"),
        ([one, one], [], "Two models have the name 'one'"),
        ([one, two], ["a"], "`name` must name each of 2 models"),
        ([one], ["../x"], "has other characters"),
        ([one], ["x:predict"], "has other characters"),
    ):
        with pytest.raises(ValueError, match=reason):
            names_of(paths, names)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        names_of([tmp_path / "none"])
