"""Preemption: a signal announces that the machine will soon be taken away."""

import contextlib
import signal
import threading
from collections.abc import Iterable

PREEMPTED = 143
"""The exit code of a run that a signal stopped after it saved its state: 128 + 15, as in a shell after SIGTERM."""


class Preemption:
    """Records signals instead of ending the process, while the block runs.

        with Preemption() as preemption:
            while not preemption.requested: ...

    Clusters send SIGTERM: Kubernetes and cloud machines before they take a node back, Slurm before its time limit with
    `sbatch --signal=TERM@120`. Python handles signals only in the main thread. In another thread nothing changes, and
    no signal is recorded.

    Args:
        signals: signals to record.
    Attributes:
        requested: name of the signal that came, such as "SIGTERM", or None.
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
                # None stands for a handler that was not installed from Python, which Python cannot restore.
                self._before[number] = signal.signal(number, take_notice) or signal.SIG_DFL
        return self

    def __exit__(self, *raised) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def __del__(self):
        # A `fit` that failed never called `on_train_end`.
        with contextlib.suppress(Exception):
            self.__exit__()
