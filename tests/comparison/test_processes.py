"""Processes of a comparison that stand-ins play: which are started, ended and started again, and what they leave."""

import contextlib
import os
import signal
import types

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("comparisons run on TensorFlow", allow_module_level=True)

from concurrent.futures.process import BrokenProcessPool

from keras_seq.comparison import processes
from keras_seq.comparison.cells import Cell, CellRecord, read_cell
from keras_seq.comparison.training_cells import lock_of
from keras_seq.data.file_lock import tried
from keras_seq.training.preemption import PREEMPTED

CELLS = [Cell("rnn", 0.1, seed, 4) for seed in (1, 2)]
NAMES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


class Process:
    """Stands for a process. It ends when it is joined, unless it is `deaf`, or killed."""

    def __init__(self, target, args, name):
        self.target, self.args, self.name = target, args, name
        self.exitcode, self.deaf, self.happened, self.threads = None, False, [], None

    def start(self):
        self.pid, self.threads = id(self), [os.environ[name] for name in NAMES]

    def is_alive(self):
        return self.exitcode is None

    def terminate(self):
        self.happened.append("terminate")

    def kill(self):
        self.happened.append("kill")
        self.exitcode = -9

    def join(self, seconds=None):
        self.happened.append(f"join {seconds}")
        if not self.deaf and self.exitcode is None:
            self.exitcode = 0


@pytest.fixture
def started(monkeypatch):
    """The processes that were started."""
    found = []

    def make(**arguments):
        found.append(Process(**arguments))
        return found[-1]

    monkeypatch.setattr(processes, "_SPAWN", types.SimpleNamespace(Process=make))
    return found


def test_workers_have_their_names_and_threads(started, monkeypatch, tmp_path):
    monkeypatch.setenv(NAMES[0], "5")
    for name in NAMES[1:]:
        monkeypatch.delenv(name, raising=False)
    with processes.Workers(2, list, CELLS, tmp_path, threads=3) as workers:
        assert [(process.name, process.threads) for process in started] == [(f"worker-{i}", ["3"] * 3) for i in (0, 1)]
        assert [os.environ.get(name) for name in NAMES] == ["5", None, None]
        assert started[1].target is processes._work
        assert started[1].args == (list, CELLS, tmp_path, "worker-1", os.getpid())
        assert workers.log("worker-1") == tmp_path / "worker-1.log"
    assert all(process.happened == ["join 60"] for process in started)


def test_what_runs_after_an_error_is_asked_to_end_and_then_killed(started, tmp_path):
    with pytest.raises(KeyError), processes.Workers(3, list, CELLS, tmp_path):
        started[0].exitcode, started[1].deaf = 0, True
        raise KeyError
    assert [process.happened for process in started] == [
        ["join 60"],
        ["terminate", "join 60", "kill", "join None"],
        ["terminate", "join 60"],
    ]


def test_each_death_is_told_once(started, tmp_path):
    with processes.Workers(2, list, CELLS, tmp_path) as workers:
        assert workers.running() and workers.died() == []
        started[0].exitcode, started[1].exitcode = -signal.SIGKILL, 0
        assert workers.died() == [("worker-0", -9, "killed by SIGKILL")] and workers.died() == []
        assert not workers.running()
        workers.restart("worker-0")
        assert workers.running() and started[2].name == "worker-0"
        started[2].exitcode = 2
        assert workers.died() == [("worker-0", 2, "exit code 2")] and workers.died() == []


@pytest.mark.parametrize("with_parent", [True, False])
def test_a_worker_writes_to_its_log_and_leaves_ctrl_c_to_its_parent(monkeypatch, tmp_path, with_parent):
    happened, log = [], tmp_path / "worker-0.log"
    log.write_text("before\n")

    def dup2(number, other):
        os.write(number, f"{other}\n".encode())

    def die_with(parent):
        return (lambda: happened.append(f"die with {parent}")) if with_parent else None

    monkeypatch.setattr(processes, "os", types.SimpleNamespace(dup2=dup2))
    monkeypatch.setattr(processes, "die_with", die_with)
    monkeypatch.setattr(processes.signal, "signal", lambda *arguments: happened.append(arguments))
    monkeypatch.setattr(processes, "train_cells", lambda *arguments: happened.append(arguments))
    processes._work(lambda: "contender", CELLS, tmp_path, "worker-0", 7)
    assert happened == [
        *(["die with 7"] if with_parent else []),
        (signal.SIGINT, signal.SIG_IGN),
        ("contender", CELLS, tmp_path, "worker-0"),
    ]
    assert log.read_text() == "before\n1\n2\n"


@pytest.fixture
def training(monkeypatch, tmp_path):
    """`training(*looks)` trains CELLS with stand-ins for `Workers`. At each look the next function is called, which may
    return processes that have died."""
    seen = types.SimpleNamespace(restarted=[], ended=[], written=0, alive=True, arguments=None)

    class Scripted(contextlib.AbstractContextManager):
        def __init__(self, count, make, cells, root, threads):
            seen.arguments = (count, cells, threads)

        def __exit__(self, *exception):
            pass

        def running(self):
            return seen.alive

        def died(self):
            return next(looks)() or []

        def restart(self, name):
            seen.restarted.append(name)
            seen.alive = True

        def log(self, name):
            return tmp_path / f"{name}.log"

    def on_ended():
        seen.written += 1

    def run(*functions):
        nonlocal looks
        looks = iter(functions)
        ended = lambda cell, record: seen.ended.append((cell, record.status))  # noqa: E731
        progress = types.SimpleNamespace(refresh=lambda: None, ended=ended)
        processes.train_all(list, CELLS, tmp_path, 5, progress, on_ended)
        assert next(looks, None) is None
        return seen

    looks = iter(())
    monkeypatch.setattr(processes, "Workers", Scripted)
    monkeypatch.setattr(processes, "_POLL", 0)
    monkeypatch.setattr(processes, "cores", lambda: 7)
    run.seen = seen
    return run


def test_cells_that_have_ended_start_no_process(training, tmp_path):
    for cell in CELLS:
        CellRecord("done", score=0.5).write(tmp_path / cell.folder)
    assert training().arguments is None


@pytest.mark.parametrize("others", [True, False])
def test_the_cell_of_a_process_that_dies_has_failed_and_the_process_starts_again(training, tmp_path, others):
    """Unless another one runs, which takes the rest."""
    first, second = CELLS

    def dies():
        training.seen.alive = others
        CellRecord("running", worker="worker-0", tokens=9).write(tmp_path / first.folder)
        return [("worker-0", -9, "killed by SIGKILL")]

    def ends():
        CellRecord("done", score=0.5).write(tmp_path / second.folder)

    seen = training(lambda: None, dies, ends)
    assert seen.arguments == (2, CELLS, 7 // 2) and seen.restarted == ([] if others else ["worker-0"])
    assert seen.ended == [(first, "failed"), (second, "done")] and seen.written == 2
    record = read_cell(tmp_path / first.folder)
    assert (record.reason, record.tokens) == ("its process died: killed by SIGKILL", 9)


def test_processes_that_always_die_are_not_started_for_ever(training, tmp_path):
    def dies():
        training.seen.alive = False
        return [("worker-1", -9, "killed by SIGKILL")]

    with pytest.raises(ValueError) as error:
        training(dies, dies, dies)
    assert str(error.value) == f"3 processes died, the last one: killed by SIGKILL. Output: {tmp_path}/worker-1.log"
    assert training.seen.restarted == ["worker-1"] * 2


def test_processes_that_end_before_the_grid(training, tmp_path):
    def end():
        training.seen.alive = False  # after the look whether one runs

    with pytest.raises(ValueError) as error:
        training(end, lambda: None)
    assert str(error.value) == f"The processes have ended before the grid. Their output: {tmp_path}/worker-*.log"


def lost(root, code):
    processes._lost(CELLS, root, "worker-0", code, f"exit code {code}", root / "worker-0.log")
    return [read_cell(root / cell.folder).status for cell in CELLS]


def test_a_process_that_ends_before_its_first_run_is_an_error(tmp_path):
    CellRecord("running", worker="worker-1").write(tmp_path / CELLS[0].folder)
    with pytest.raises(ValueError) as error:
        lost(tmp_path, 1)
    reason = "The process worker-0 ended before its first run, with exit code 1. Its output: "
    assert str(error.value) == f"{reason}{tmp_path}/worker-0.log"
    assert lost(tmp_path, PREEMPTED) == lost(tmp_path, -15) == ["running", "waiting"]


def test_a_run_that_goes_on_has_not_failed(tmp_path):
    """After a stop that was asked for, or in another process, which has its lock."""
    for cell in CELLS:
        CellRecord("running", worker="worker-0").write(tmp_path / cell.folder)
    assert lost(tmp_path, PREEMPTED) == ["running", "running"]
    with tried(lock_of(CELLS[0], tmp_path)) as mine:
        assert mine and lost(tmp_path, 1) == ["running", "failed"]
    assert lost(tmp_path, 1) == ["failed", "failed"]


@pytest.mark.parametrize("broken", [True, False])
def test_a_call_in_a_fresh_process(monkeypatch, tmp_path, broken):
    pools, log = [], tmp_path / "log"

    class Pool(contextlib.AbstractContextManager):
        def __init__(self, *arguments, **options):
            pools.append((arguments, options))

        def __exit__(self, *exception):
            pass

        def submit(self, function, *arguments):
            def result():
                if broken:
                    raise BrokenProcessPool("killed")
                return function(*arguments), [os.environ[name] for name in NAMES]

            return types.SimpleNamespace(result=result)

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Pool)
    monkeypatch.setenv(NAMES[0], "5")
    if broken:
        with pytest.raises(RuntimeError) as error:
            processes.in_fresh_process(max, 3, 4, threads=2, log=log)
        assert str(error.value) == f"A measuring process ended. Its output: {log}"
    else:
        assert processes.in_fresh_process(max, 3, 4, threads=2, log=log) == (4, ["2"] * 3)
    assert os.environ[NAMES[0]] == "5"
    ((arguments, options),) = pools
    assert arguments == (1,) and options["initializer"] is processes._begin
    assert options["initargs"] == (os.getpid(), log) and options["mp_context"].get_start_method() == "spawn"
