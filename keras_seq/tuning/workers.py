"""The worker processes of a search, which KerasTuner's chief serves over gRPC."""

import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Callable

from keras_tuner.src.engine import conditions

from keras_seq.distribution.launch import free_ports
from keras_seq.distribution.processes import die_with, how_it_ended

conditions.print = lambda *values: None  # KerasTuner 1.4.8 prints each condition that it sends


class Workers:
    """Processes that run this program again, as workers of KerasTuner. A context manager, which ends them.

    Args:
        count: number of workers. They are called worker-0, worker-1, ...
        folder: folder of the search, for their output.
    """

    def __init__(self, count: int, folder: pathlib.Path):
        self._count, self._folder = count, folder
        self._processes: dict[str, subprocess.Popen] = {}
        self._told: set[str] = set()

    def __enter__(self) -> "Workers":
        (port,) = free_ports(1)
        address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
        self._before = {name: os.environ.get(name) for name in (*address, "KERASTUNER_TUNER_ID")}
        os.environ.update(address, KERASTUNER_TUNER_ID="chief")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        for index in range(self._count):
            name = f"worker-{index}"
            threads = {"TF_NUM_INTRAOP_THREADS": str(max(1, cores // self._count)), "PYTHONUNBUFFERED": "1"}
            with open(self.log(name), "ab") as log:
                self._processes[name] = subprocess.Popen(
                    [sys.executable, *sys.orig_argv[1:]],
                    env={**threads, **os.environ, "KERASTUNER_TUNER_ID": name},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=die_with(os.getpid()),
                )
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:  # otherwise they are ending
            for process in self._processes.values():
                process.terminate()  # they save their trial after the step
        for process in self._processes.values():
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def serve(self, chief: Callable[[], object]) -> threading.Thread:
        """Runs KerasTuner's chief in a thread: its own loop looks only every 20 seconds whether all have ended."""
        thread = threading.Thread(target=chief, name="chief", daemon=True)
        thread.start()
        return thread

    def running(self) -> bool:
        return any(process.poll() is None for process in self._processes.values())

    def died(self) -> list[tuple[str, str]]:
        """The workers that have failed since the last call, and how."""
        dead = {name: process.poll() for name, process in self._processes.items() if process.poll()}
        new = [(name, how_it_ended(code)) for name, code in dead.items() if name not in self._told]
        self._told |= set(dead)
        return new

    def all_died(self) -> bool:
        return all(process.poll() for process in self._processes.values())

    def log(self, name: str) -> pathlib.Path:
        """The file with the output of a worker."""
        return self._folder / f"{name}.log"
