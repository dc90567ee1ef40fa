"""Preemption: the machine is wanted back, and a signal says so some time before it is taken."""

import contextlib
import signal
import threading
from collections.abc import Iterable

PREEMPTED = 143
"""The exit code of a run that was asked to stop, saved its state and can go on: 128 + 15, a shell's own for SIGTERM."""


class Preemption:
    """Takes notice of signals instead of ending the process, as long as the block lasts.

        with Preemption() as preemption:
            while not preemption.requested: ...

    Clusters send SIGTERM: Kubernetes and cloud machines before they take a node back, Slurm before its time limit with
    `sbatch --signal=TERM@120`. Signals are Python's business only in the main thread; in another one nothing is changed
    and nothing is ever requested.

    Args:
        signals: those to be taken notice of.
    Attributes:
        requested: the name of the signal that came, "SIGTERM" say; None until one comes.
    """

    def __init__(self, signals: Iterable[int] = (signal.SIGTERM,)):
        self._signals = tuple(signal.Signals(number) for number in signals)
        self._came: list[int] = []
        self._before: dict[int, object] = {}

    @property
    def requested(self) -> str | None:
        return signal.Signals(self._came[0]).name if self._came else None

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread() and not self._before:
            came = self._came  # not `self`: the handler must not keep this object alive

            def take_notice(number, frame):
                came.append(number)

            for number in self._signals:
                # None stands for a handler that was not installed from Python, and cannot be put back from it.
                self._before[number] = signal.signal(number, take_notice) or signal.SIG_DFL
        return self

    def __exit__(self, *raised) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def __del__(self):
        # A `fit` that failed never called `on_train_end`.
        with contextlib.suppress(Exception):
            self.__exit__()
