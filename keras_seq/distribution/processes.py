"""A process with all its descendants, and a screen that shows the output of several processes line by line."""

import collections
import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

_PROGRESS_SECONDS = 10.0  # between two states of a progress bar in a log file
_LONGEST_LINE = 2**16
_TAIL = 100
_COLORS = (36, 33, 35, 32, 34, 31)
_PDEATHSIG, _CHILD_SUBREAPER = 1, 36  # PR_SET_..., linux/prctl.h
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def adopt_orphans() -> None:
    """Makes orphaned descendants children of this process, which can then wait for them. On Linux only."""
    if _PRCTL:
        _PRCTL(_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """The children of this process. On Linux only."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return {int(pid) for pid in file.read().split()}
    except OSError:
        return set()


class Process:
    """A process that leads a new session, with all its descendants.

    Attributes:
        code: exit code, or the negative number of the signal that killed it. None while it runs.
    """

    def __init__(
        self,
        title: str,
        command: Sequence[str],
        environment: dict[str, str],
        screen: "Screen",
        rank: int | None = None,
    ):
        self.title, self.code, self.over, self.started = title, None, False, time.monotonic()
        self.prefix = screen.prefix(title if rank is None else str(rank), rank)
        pipe = subprocess.PIPE
        self.popen = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
            start_new_session=True,
            preexec_fn=die_with(os.getpid()),
        )
        self.pid = self.popen.pid
        self.tail: collections.deque[tuple[int, bytes]] = collections.deque(maxlen=_TAIL)
        self.outputs = [
            _Output(file, to, self, screen, rank == 0) for file, to in ((self.popen.stdout, 1), (self.popen.stderr, 2))
        ]

    def send(self, number: int) -> None:
        """Sends a signal to the process and its descendants."""
        if not self.over:  # its number may have been reused
            with contextlib.suppress(OSError):
                os.killpg(self.pid, number)

    def gone(self) -> bool:
        """Whether the process and all descendants in its session have ended."""
        if self.over:
            return True
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-self.pid, os.WNOHANG))[0]:
                if ended[0] == self.pid:
                    self.code = self.popen.returncode = os.waitstatus_to_exitcode(ended[1])
                    self.ended = time.monotonic()
        if self.code is None:
            return False
        try:
            os.killpg(self.pid, 0)
        except OSError:
            self.over = True
        return self.over

    def seconds(self) -> float:
        return self.ended - self.started

    def how(self) -> str:
        if self.code is None:
            return "still running"
        return how_it_ended(self.code)

    def last_lines(self) -> list[bytes]:
        """The lines from the traceback on, or the last twenty."""
        errors = [text for to, text in self.tail if to == 2]
        for start, text in enumerate(errors):
            if text.startswith((b"Traceback (most recent", b"Fatal Python error")):
                return errors[start:]
        return [text for _, text in self.tail][-20:]

    def close(self) -> None:
        for output in self.outputs:
            output.close()


def die_with(parent: int) -> Callable[[], None] | None:
    """A function for the child before it runs its program: makes the kernel kill it when `parent` ends."""
    if not _PRCTL:
        return None

    def ask() -> None:
        _PRCTL(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the parent has ended already
            os._exit(1)

    return ask


def how_it_ended(code: int) -> str:
    """ "exit code 2", or "killed by SIGKILL" for the negative number of a signal."""
    names = {number.value: number.name for number in signal.Signals}
    return f"killed by {names.get(-code, -code)}" if code < 0 else f"exit code {code}"


class _Output:
    """One stream of a process, from bytes to lines.

    Text that a carriage return overwrites is progress, of which only the last state counts. Progress is shown only for
    the chief: in place on a terminal; in a log file every few seconds, and when its line ends.
    """

    def __init__(self, pipe, to: int, process: Process, screen: "Screen", chief: bool):
        self.pipe, self.to, self.process, self.screen, self.chief = pipe, to, process, screen, chief
        self.rest, self.rewritten, self.shown = b"", False, time.monotonic()

    def read(self) -> bool:
        """Reads the available bytes. Returns False at the end."""
        data = os.read(self.pipe.fileno(), 2**16)
        *lines, self.rest = (self.rest + data).split(b"\n")
        if self.rest and (not data or len(self.rest) > _LONGEST_LINE):
            lines, self.rest = [*lines, self.rest], b""
        for line in lines:
            self._line(line)
        if b"\r" in self.rest.rstrip(b"\r"):
            self._progress()
        return bool(data)

    def _line(self, line: bytes) -> None:
        rewritten = self.rewritten or b"\r" in line.rstrip(b"\r")
        text = _last_state(line) if rewritten else line.rstrip(b"\r")
        self.rewritten = False
        self.process.tail.append((self.to, text))
        if rewritten and self.chief:
            self.screen.progress(b"")
        if not rewritten or (self.chief and text):
            self.screen.line(self.to, self.process.prefix + text)

    def _progress(self) -> None:
        *states, now = self.rest.split(b"\r")
        self.rest = _last_state(b"\r".join(states)) + b"\r" + now  # `now` may be incomplete
        text = _last_state(self.rest)
        self.rewritten = True
        if not self.chief:
            return
        if self.screen.terminal:
            self.screen.progress(self.process.prefix + self.screen.fitted(text))
        elif time.monotonic() - self.shown >= _PROGRESS_SECONDS:
            self.shown = time.monotonic()
            self.screen.line(self.to, self.process.prefix + text)

    def close(self) -> None:
        self.pipe.close()


def _last_state(line: bytes) -> bytes:
    """The final text of the line on a terminal."""
    states = [state for state in line.split(b"\r") if state.strip(b"\b ")]
    return states[-1].replace(b"\b", b"").rstrip(b" ") if states else b""


class Screen:
    """The destination of lines: standard output (1), standard error (2), and on a terminal a progress line below."""

    def __init__(self):
        self.terminal = os.isatty(1)
        self.colored = self.terminal and not os.environ.get("NO_COLOR")
        self.live = b""
        self.closed = False  # the reader has gone

    def prefix(self, name: str, rank: int | None) -> bytes:
        if self.colored and rank is not None:
            return f"\x1b[{_COLORS[rank % len(_COLORS)]}m[{name}]\x1b[0m ".encode()
        return f"[{name}] ".encode()

    def say(self, message: str) -> None:
        self.line(2, f"launch: {message}".encode())

    def line(self, to: int, text: bytes) -> None:
        if self.live:
            self._write(1, b"\r\x1b[K")
        self._write(to, text + b"\n")
        if self.live:
            self._write(1, self.live)

    def progress(self, text: bytes) -> None:
        if text or self.live:
            self._write(1, b"\r\x1b[K" + text)
        self.live = text

    def fitted(self, text: bytes) -> bytes:
        """The text without colors, cut to the width of the terminal, since a wrapped line cannot be overwritten."""
        plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text.decode(errors="replace"))
        return plain[: shutil.get_terminal_size().columns - 6].encode()

    def _write(self, to: int, data: bytes) -> None:
        try:
            while data and not self.closed:
                data = data[os.write(to, data) :]
        except OSError:
            self.closed = True
