"""Programs in processes of their own that decode the same batches in turn, for `decoding.py`.

Each is a file of `peers/`, run by the Python of the environment that its library is installed in.
"""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from os import sched_setaffinity

from benchmarks import timing

FOLDER = pathlib.Path(__file__).parent / "peers"
# One thread each, and the same memory for all: glibc keeps what is freed (see `training.keep_freed_memory`).
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "2147483647",
    "MALLOC_TOP_PAD_": "268435456",
}


@dataclasses.dataclass(frozen=True)
class Task:
    """What all programs are given: files and sizes that do not change while they run."""

    sources: pathlib.Path
    scratch: pathlib.Path
    vocabulary_size: int
    max_length: int
    core: int | None


class Program:
    """A process that waits, and decodes when told to.

    Args:
        title: how tables call it.
        script: a file of `peers/`.
        python: the interpreter.
        model: "transformer" or "lstm".
        task: see `Task`.
        variant: what the program makes of it.
    """

    def __init__(self, title: str, script: str, python: str, model: str, task: Task, variant: str = ""):
        flags = {
            "sources": task.sources,
            "scratch": task.scratch,
            "model": model,
            "vocabulary-size": task.vocabulary_size,
            "max-length": task.max_length,
            "variant": variant,
        }
        command = [python, FOLDER / script, *(f"--{name}={value}" for name, value in flags.items())]
        paths = os.pathsep.join(filter(None, [str(FOLDER.parent.parent), os.environ.get("PYTHONPATH")]))
        core = None if task.core is None else (lambda: sched_setaffinity(0, {task.core}))
        self.title, self.errors = title, task.scratch / f"{title.replace(' ', '_').replace('/', '_')}-{model}.log"
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": paths},
                preexec_fn=core,
            )
        self.version = f"{self._answer()['program']} {variant}".strip()

    def decode(self, num_beams: int, batch_size: int, batches: int | None = None) -> dict:
        """Decodes all batches once, or the first few; returns what `peers/turns.py` answers."""
        order = {"num_beams": num_beams, "batch_size": batch_size, "batches": batches}
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            end = self.errors.read_text().strip().splitlines()[-15:]
            raise RuntimeError(f"{self.title} has ended, status {self.process.wait()}:\n" + "\n".join(end))
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def in_turn(
    programs: Sequence[Program], num_beams: int, batch_size: int, length: int, rounds: int
) -> dict[str, list[timing.Speed]]:
    """Sentences a second of each program, one after the other, `rounds` times, each time first another.

    Raises:
        RuntimeError: if a program does other work than was asked for.
    """
    speeds = {program.title: [] for program in programs}
    for program in programs:
        program.decode(num_beams, batch_size, batches=2)
    for number in range(rounds):
        for program in programs[:: -1 if number % 2 else 1]:
            found = program.decode(num_beams, batch_size)
            if found["lengths"] != [length, length] or found["hypotheses"] != num_beams:
                raise RuntimeError(f"{program.title} was to find {num_beams} hypotheses of {length} tokens: {found}")
            count = found["sentences"]
            speeds[program.title].append(timing.Speed(count / found["clock"], count / found["cpu"]))
        each = (f"{title} {found[-1].cpu:.0f} ({found[-1].clock:.0f})" for title, found in speeds.items())
        timing.log(f"beams {num_beams}, batch {batch_size}, round {number + 1}: {', '.join(each)}")
    return speeds


def ratio(ours: Sequence[timing.Speed], others: Sequence[timing.Speed]) -> str:
    return timing.spread([one.cpu / other.cpu for one, other in zip(ours, others, strict=True)])


def best(speeds: Mapping[int, Sequence[timing.Speed]]) -> int:
    """The batch size at which a program is fastest."""
    return max(speeds, key=lambda size: statistics.median(speed.cpu for speed in speeds[size]))
