import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import types

import hypothesis
import pytest
from hypothesis import strategies

from keras_seq.distribution import processes
from tests.distribution.workers import (
    ROOT,
    command,
)


class Lines(processes.Screen):
    """Takes down what would be shown."""

    def __init__(self):
        super().__init__()
        self.terminal, self.shown = False, []

    def line(self, to, text):
        self.shown.append((to, text))


def shown(chunks: list[bytes], chief: bool = True) -> list[bytes]:
    """The lines that are shown of what a worker writes in such pieces."""
    screen = Lines()
    worker = type("Worker", (), {"tail": [], "prefix": b"> "})()
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as pipe:
        output = processes._Output(pipe, 1, worker, screen, chief)
        for chunk in filter(None, chunks):
            os.write(writing, chunk)
            assert output.read()
        os.close(writing)
        assert not output.read()
    assert all(line.startswith(b"> ") and to == 1 for to, line in screen.shown)
    return [line[2:] for _, line in screen.shown]


@pytest.mark.parametrize(
    ("written", "lines", "of_others"),
    [
        (b"a\nb", [b"a", b"b"], [b"a", b"b"]),
        (b"a\r\n\r\n b \r\n", [b"a", b"", b" b "], [b"a", b"", b" b "]),
        (b"\xff\x00\n", [b"\xff\x00"], [b"\xff\x00"]),
        (b"Epoch 1\n\r1/2\b\b\b\r2/2 done \nEnd\n", [b"Epoch 1", b"2/2 done", b"End"], [b"Epoch 1", b"End"]),
        (b"10%\r20%\r\nnext\n", [b"20%", b"next"], [b"next"]),
        (b"\r10%\r20%", [b"20%"], []),
    ],
)
def test_lines_and_progress(written, lines, of_others):
    for pieces in ([written], [written[index : index + 1] for index in range(len(written))]):
        assert shown(pieces) == lines and shown(pieces, chief=False) == of_others


def test_a_log_shows_progress_every_few_seconds(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(processes.time, "monotonic", lambda: now[0])
    screen, shown = Lines(), []
    worker = types.SimpleNamespace(tail=[], prefix=b"> ")
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as pipe, open(writing, "wb", buffering=0) as end:
        output = processes._Output(pipe, 1, worker, screen, True)
        for seconds in (5, 9.9, 10, 15, 20):
            now[0] = seconds
            end.write(b"\r%d s" % seconds)
            output.read()
            shown.append(len(screen.shown))
    assert shown == [0, 0, 1, 1, 2]
    assert screen.shown == [(1, b"> 10 s"), (1, b"> 20 s")]


def test_the_last_lines_begin_at_the_traceback():
    tail = [(1, b"Epoch 1"), (2, b"warning"), (2, b"Traceback (most recent call last):"), (1, b"out"), (2, b"KeyError")]
    assert processes.Process.last_lines(types.SimpleNamespace(tail=tail)) == [tail[2][1], b"KeyError"]
    lines = [(1 + i % 2, b"%d" % i) for i in range(30)]
    assert processes.Process.last_lines(types.SimpleNamespace(tail=lines)) == [b"%d" % i for i in range(10, 30)]


@hypothesis.given(strategies.lists(strategies.text("ab\r\n\b é").map(str.encode), max_size=8), strategies.booleans())
def test_the_pieces_that_output_comes_in_do_not_matter(chunks, chief):
    assert shown(chunks, chief) == shown([b"".join(chunks)], chief)


def test_a_line_without_end_is_cut(monkeypatch):
    monkeypatch.setattr(processes, "_LONGEST_LINE", 100)
    lines = shown([b"x" * 60] * 10)
    assert b"".join(lines) == b"x" * 600 and max(map(len, lines)) <= 160


def test_on_a_terminal_progress_stays_in_its_line(tmp_path):
    program = """
if rank == 0:
    print("\\r" + "\\x1b[32m1/2\\x1b[0m" + "=" * 500, end="", flush=True)
    wait_for("other")
    time.sleep(0.3)
    print("\\b\\r2/2 done")
else:
    time.sleep(0.3)
    print("beside")
    (here / "other").touch()
"""
    master, slave = pty.openpty()
    line = command(program, tmp_path, "--workers", 2)
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"COLUMNS": "40"}
    with subprocess.Popen(line, cwd=ROOT, stdout=slave, stderr=slave, env=environment) as launcher:
        os.close(slave)
        seen = b""
        with contextlib.suppress(OSError):  # the end of a pseudo-terminal
            while select.select([master], [], [], 60)[0] and (data := os.read(master, 4096)):
                seen += data
        launcher.wait(60)
    os.close(master)
    chief, other = b"\x1b[36m[0]\x1b[0m ", b"\x1b[33m[1]\x1b[0m "
    progress = b"\r\x1b[K" + chief + b"1/2" + b"=" * 31
    assert launcher.returncode == 0
    # What comes in two pieces is drawn twice, in the same line.
    drawn = (progress, b"\r\x1b[K" + other + b"beside\r\n", progress[4:], progress, b"\r\x1b[K" + chief + b"2/2 done")
    assert re.fullmatch(b"(?:%s)+%s%s(?:%s)*(?:%s)+\r\n" % tuple(map(re.escape, drawn)), seen), seen


def test_a_child_ends_with_its_parent(monkeypatch):
    asked = []
    monkeypatch.setattr(processes, "_PRCTL", lambda *options: asked.append(options))
    monkeypatch.setattr(processes.os, "_exit", lambda code: asked.append(code))
    processes.die_with(os.getppid())()
    assert [options[1] for options in asked] == [signal.SIGKILL]
    processes.die_with(os.getppid() + 1)()  # another process has taken it over
    assert asked[-1] == 1
    processes.adopt_orphans()
    assert asked[-1] == (36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    monkeypatch.setattr(processes, "_PRCTL", None)
    assert processes.die_with(1) is None and processes.adopt_orphans() is None


def test_where_there_is_no_list_of_children(monkeypatch):
    monkeypatch.setattr(processes.os, "getpid", lambda: -1)
    assert processes.children() == set()


def test_how_a_process_ended():
    for code, told in ((None, "still running"), (3, "exit code 3"), (-9, "killed by SIGKILL"), (-200, "killed by 200")):
        assert processes.Process.how(types.SimpleNamespace(code=code)) == told
