"""Starts the launcher on workers of a few lines, which do without TensorFlow."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = [sys.executable, "-m", "keras_seq.distribution.launch"]
# What every worker program below begins with. Without `site` Python starts in a few milliseconds.
BEGIN = """
import json, os, pathlib, signal, subprocess, sys, time
rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
here = pathlib.Path(sys.argv[1])
def wait_for(name):
    while not (here / name).exists():
        time.sleep(0.01)
"""


def command(program: str, folder, *flags) -> list[str]:
    return [*LAUNCH, *map(str, flags), "--", "python", "-S", "-c", BEGIN + program, str(folder)]


def launched(program: str, folder, *flags) -> subprocess.CompletedProcess:
    return subprocess.run(command(program, folder, *flags), cwd=ROOT, capture_output=True, text=True, timeout=300)


@contextlib.contextmanager
def running(program: str, folder, *flags, **pipes):
    """The launcher with its workers, which are killed in the end whatever the test has found."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **pipes}
    # Under nohup, which may have started the tests, the launcher would not hear of a closed terminal.
    hears = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)  # noqa: E731
    with subprocess.Popen(command(program, folder, *flags), cwd=ROOT, text=True, preexec_fn=hears, **pipes) as launcher:
        try:
            yield launcher
        finally:
            launcher.kill()
            for pid in pids(folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def pids(folder) -> list[int]:
    """Those that the workers have written down, each in a file."""
    texts = [path.read_text() for path in folder.glob("*.pid")]
    return [int(text) for text in texts if text]  # a file is there a moment before its number


def alive(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition, seconds: float = 60) -> bool:
    """Whether it has come true in that time, which is long only where the machine is busy."""
    limit = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < limit:
        time.sleep(0.02)
    return true


# Each worker writes down itself, a child, and a child in a session of its own.
FAMILY = """
def note(name, pid):
    (here / f"new {name}").write_text(str(pid))
    (here / f"new {name}").rename(here / f"{name}.pid")
for kind in ("child", "escaped"):
    child = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=kind == "escaped")
    note(f"{kind} {rank}", child.pid)
note(f"worker {rank}", os.getpid())
"""

SAVES = """
def save(*_):
    time.sleep(0.5)
    (here / f"saved {rank}").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
(here / f"{rank}.pid").write_text(str(os.getpid()))
time.sleep(1000)
"""
