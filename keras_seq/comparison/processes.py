"""Processes of a comparison: workers that train cells, and single calls in a fresh process."""

import contextlib
import multiprocessing
import os
import pathlib
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from keras_seq.comparison.cells import Cell
from keras_seq.comparison.contender import Contender
from keras_seq.comparison.training_cells import train_cells
from keras_seq.distribution.processes import die_with, how_it_ended

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
