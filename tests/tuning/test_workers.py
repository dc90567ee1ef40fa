"""The workers of a search, with stand-ins for the processes."""

import os
import subprocess
import sys

import pytest

from keras_seq.tuning import workers
from keras_seq.tuning.workers import Workers

NAMES = ("KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID")


class Process:
    """A process that was started with these options; `hangs` at the end."""

    def __init__(self, command, *, env, stdout, stderr, **options):
        self.command, self.env, self.log, self.code, self.hangs, self.told = command, env, stdout.name, None, False, []
        assert stdout is stderr and options["stdin"] == subprocess.DEVNULL and callable(options["preexec_fn"])

    def poll(self):
        return self.code

    def terminate(self):
        self.told.append("terminate")

    def kill(self):
        self.told.append("kill")

    def wait(self, timeout=None):
        self.told.append(timeout)
        if timeout and self.hangs:
            raise subprocess.TimeoutExpired("worker", timeout)


@pytest.fixture
def started(monkeypatch):
    """The stand-ins that have been started."""
    processes = []

    def start(*command, **options):
        processes.append(Process(*command, **options))
        return processes[-1]

    monkeypatch.setattr(workers.subprocess, "Popen", start)
    for name in (*NAMES, "TF_NUM_INTRAOP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return processes


def test_workers_run_this_program_with_the_address_of_their_chief(started, monkeypatch, tmp_path):
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "7")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(5)), raising=False)
    with Workers(2, tmp_path) as processes:
        port = os.environ["KERASTUNER_ORACLE_PORT"]
        assert int(port) > 1000 and [os.environ[name] for name in NAMES] == ["127.0.0.1", port, "chief"]
    assert [os.environ.get(name) for name in NAMES] == [None, "7", None]
    for number, process in enumerate(started):
        name = f"worker-{number}"
        assert process.command == [sys.executable, *sys.orig_argv[1:]]
        assert [process.env[each] for each in NAMES] == ["127.0.0.1", port, name]
        assert (process.env["TF_NUM_INTRAOP_THREADS"], process.env["PYTHONUNBUFFERED"]) == ("2", "1")
        assert process.log == str(processes.log(name)) == str(tmp_path / f"{name}.log")
    assert [process.told for process in started] == [[60], [60]]  # they end by themselves


def test_workers_are_ended_with_the_search(started, tmp_path):
    with pytest.raises(KeyboardInterrupt), Workers(2, tmp_path):
        started[1].hangs = True
        raise KeyboardInterrupt
    assert [process.told for process in started] == [["terminate", 60], ["terminate", 60, "kill", None]]


def test_workers_that_die_are_told_once(started, tmp_path):
    with Workers(2, tmp_path) as processes:
        assert processes.running() and not processes.died() and not processes.all_died()
        started[1].code = -9
        assert processes.died() == [("worker-1", "killed by SIGKILL")] and processes.died() == []
        started[0].code = 0
        assert not processes.running() and not processes.all_died() and processes.died() == []
        started[0].code = 3
        assert processes.died() == [("worker-0", "exit code 3")] and processes.all_died()


def test_the_chief_runs_beside():
    served = []
    thread = Workers(0, None).serve(lambda: served.append("chief"))
    thread.join()
    assert served == ["chief"] and thread.daemon
