"""Processes of a comparison: workers that train cells, and single calls in a fresh process."""

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from keras_seq.comparison.cells import Cell, read_cell
from keras_seq.comparison.contender import Contender
from keras_seq.comparison.progress import Progress
from keras_seq.comparison.training_cells import lock_of, train_cells
from keras_seq.data.file_lock import tried
from keras_seq.distribution.processes import die_with, how_it_ended
from keras_seq.training.preemption import PREEMPTED

_POLL = 0.3  # seconds
_SPAWN = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Processes that start within it compute with so many threads."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _begin(parent: int, log: pathlib.Path) -> None:
    """The start of a process: its output is added to a file, and it ends with its parent."""
    ask = die_with(parent)
    if ask is not None:
        ask()
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _work(make: Callable[[], Contender], cells: Sequence[Cell], root: pathlib.Path, name: str, parent: int) -> None:
    _begin(parent, root / f"{name}.log")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    train_cells(make(), cells, root, name)


class Workers:
    """Processes that train the cells of a grid. A context manager, which ends them.

    Args:
        count: number of processes. They are called worker-0, worker-1, ...
        make: picklable function that makes the contender in each process.
        cells: the cells.
        root: folder of the comparison, for records and logs.
        threads: threads of each process.
    """

    def __init__(
        self,
        count: int,
        make: Callable[[], Contender],
        cells: Sequence[Cell],
        root: pathlib.Path,
        threads: int = 1,
    ):
        self._make, self._cells, self._root, self._threads = make, list(cells), root, threads
        self._processes = {f"worker-{index}": None for index in range(count)}
        self._told: set[int | None] = set()

    def __enter__(self) -> "Workers":
        for name in self._processes:
            self._start(name)
        return self

    def _start(self, name: str) -> None:
        arguments = (self._make, self._cells, self._root, name, os.getpid())
        process = _SPAWN.Process(target=_work, args=arguments, name=name)
        with _threads(self._threads):
            process.start()
        self._processes[name] = process

    def __exit__(self, *exception: object) -> None:
        for process in self._processes.values():
            if process.is_alive() and exception[0] is not None:
                process.terminate()  # it saves its cell after the step
        for process in self._processes.values():
            process.join(60)
            if process.is_alive():
                process.kill()
                process.join()

    def running(self) -> bool:
        return any(process.is_alive() for process in self._processes.values())

    def died(self) -> list[tuple[str, int, str]]:
        """The processes that have failed since the last call: name, exit code, and how."""
        new = []
        for name, process in self._processes.items():
            if process.exitcode and process.pid not in self._told:
                self._told.add(process.pid)
                new.append((name, process.exitcode, how_it_ended(process.exitcode)))
        return new

    def restart(self, name: str) -> None:
        """Starts a process again that has died."""
        self._start(name)

    def log(self, name: str) -> pathlib.Path:
        """The file with the output of a process."""
        return self._root / f"{name}.log"


def train_all(
    make: Callable[[], Contender],
    cells: Sequence[Cell],
    root: pathlib.Path,
    workers: int,
    progress: Progress,
    on_ended: Callable[[], Any] = lambda: None,
) -> None:
    """Trains the cells that have not ended, in processes that share them, and shows how far they are.

    A cell whose process dies has failed, and the process is started again.

    Args:
        make: picklable function that makes the contender in each process.
        cells: the cells.
        root: folder of the comparison, for run folders, records and logs.
        workers: greatest number of processes. Each computes with its share of the cores.
        progress: shows each cell that ends.
        on_ended: called whenever cells have ended.
    Raises:
        ValueError: if a process ends before its first cell, or all processes before the last cell.
    """
    left = [cell for cell in cells if not read_cell(root / cell.folder).ended]
    if not left:
        return
    count = min(workers, len(left))
    deaths = 0
    with Workers(count, make, left, root, max(1, cores() // count)) as processes:
        while left:
            progress.refresh()
            time.sleep(_POLL)
            alive = processes.running()
            for name, code, how in processes.died():
                _lost(left, root, name, code, how, processes.log(name))
                deaths += 1
                if deaths > len(cells):  # runs that kill each process that takes them over
                    raise ValueError(f"{deaths} processes died, the last one: {how}. Output: {processes.log(name)}")
                if not processes.running():
                    processes.restart(name)
            ended = [cell for cell in left if read_cell(root / cell.folder).ended]
            left = [cell for cell in left if cell not in ended]
            for cell in ended:
                progress.ended(cell, read_cell(root / cell.folder))
            if ended:
                on_ended()
            elif left and not alive and not processes.running():
                raise ValueError(f"The processes have ended before the grid. Their output: {processes.log('worker-*')}")


def _lost(cells: Sequence[Cell], root: pathlib.Path, name: str, code: int, how: str, log: pathlib.Path) -> None:
    """Marks the run of a process that died as failed, unless it was asked to stop."""
    records = {cell: read_cell(root / cell.folder) for cell in cells}
    running = [cell for cell, record in records.items() if (record.status, record.worker) == ("running", name)]
    if not running and code > 0 and code != PREEMPTED:
        raise ValueError(f"The process {name} ended before its first run, with {how}. Its output: {log}")
    for cell in running:
        with tried(lock_of(cell, root)) as free:  # otherwise another process has taken it over
            if free and code != PREEMPTED and not read_cell(root / cell.folder).ended:
                record = dataclasses.replace(records[cell], status="failed", reason=f"its process died: {how}")
                record.write(root / cell.folder)


def in_fresh_process(function: Callable[..., Any], *arguments: Any, threads: int, log: pathlib.Path) -> Any:
    """The value of a call in a new process.

    Args:
        function: picklable function.
        arguments: picklable arguments.
        threads: threads that TensorFlow computes with.
        log: file for the output.
    Raises:
        RuntimeError: if the process ends without a value, for example for lack of memory.
    """
    pool = ProcessPoolExecutor(1, mp_context=_SPAWN, initializer=_begin, initargs=(os.getpid(), log))
    try:
        with _threads(threads), pool:
            return pool.submit(function, *arguments).result()
    except BrokenProcessPool as error:
        raise RuntimeError(f"A measuring process ended. Its output: {log}") from error
