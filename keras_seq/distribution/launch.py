"""Starts the workers of one training as processes on this machine, and ends them together.

    python -m keras_seq.distribution.launch --workers 2 -- python -m recipes.translation

Each worker finds the others by its TF_CONFIG. Their output appears line by line, after the worker's rank. If one fails,
the others are ended, its last lines are shown, and the launcher exits with its exit code.

No process outlives the launcher, even if SIGKILL kills it. Each worker leads a new session, and the kernel kills it
with its parent. A guardian, a shell that waits for the launcher's end of a pipe to close, kills the descendants of the
workers.
"""

import argparse
import contextlib
import json
import os
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from keras_seq.distribution.processes import Process, Screen, adopt_orphans, children

_FAILED_GRACE = 10.0  # after a failure the others cannot save any more
_LEFTOVERS_GRACE = 5.0  # for descendants of workers that have ended
_GUARDIAN = 'while read -r group; do groups="$groups -$group"; done; kill -s KILL -- $groups'
_DATA_SERVICE = "data-service"

_EPILOG = """\
example:
  python -m keras_seq.distribution.launch --workers 2 -- python -m recipes.translation --strategy multi_worker_mirrored

`python` is the interpreter of the launcher. Ctrl-C lets the workers save and end, a second Ctrl-C kills them.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code: that of the failed worker, or 128 + n for signal n."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == [_DATA_SERVICE]:
        serve_data(*argv[1:])
        return 0
    options = _parse(argv)
    screen, wakeup = Screen(), _listen()
    adopt_orphans()
    for restart in range(options.max_restarts + 1):
        with contextlib.closing(_Job(options, screen, wakeup)) as job:
            try:
                job.start()
            except OSError as error:
                screen.say(f"cannot start: {error}")
                return 126
            job.run()
        job.show_failure()
        if not job.failed or job.stopped or not options.max_restarts:
            break
        if restart == options.max_restarts:
            screen.say(f"{job.failed.title} failed, and all {restart} restarts are used.")
        else:
            screen.say(f"{job.failed.title} failed: all start again, restart {restart + 1} of {options.max_restarts}.")
    return job.exit_code()


def free_ports(count: int) -> list[int]:
    """Finds free ports of 127.0.0.1, all different.

    The ports are below the range of Linux for outgoing connections (32768 and up). TensorFlow takes seconds to start,
    during which another process could take a port from that range.
    """
    ports = []
    for port in random.sample(range(20_000, 30_000), 10_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise OSError(f"{count} free ports are needed between 20000 and 30000. Found: {len(ports)}")


def worker_environment(rank: int, ports: Sequence[int], data_service: str | None = None) -> dict[str, str]:
    """The environment of worker `rank` of `len(ports)`, based on that of the launcher.

    Args:
        rank: rank of the worker. 0 is the chief.
        ports: ports of all workers, in the order of their ranks.
        data_service: address of a tf.data service, `grpc://...`.
    """
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    task = {"type": "worker", "index": rank}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    defaults = {
        "TF_NUM_INTRAOP_THREADS": str(max(1, cores // len(ports))),
        "PYTHONUNBUFFERED": "1",  # otherwise Python writes to a pipe in blocks of 8 KiB
        "PYTHONFAULTHANDLER": "1",  # a traceback for a crash in native code too
    }
    environment = {**defaults, **os.environ, "TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
    if data_service:
        environment["KERAS_SEQ_DATA_SERVICE"] = data_service
    return environment


def serve_data(role: str, dispatcher: str) -> None:
    """Runs one process of a tf.data service until it is killed: the "dispatcher", at that address, or a "worker"."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  the vocabularies' ops run here

    service = tf.data.experimental.service
    if role == "dispatcher":
        service.DispatchServer(service.DispatcherConfig(port=int(dispatcher.rpartition(":")[2]))).join()
    else:
        service.WorkerServer(service.WorkerConfig(dispatcher, worker_address="127.0.0.1:%port%")).join()


class _Job:
    """One attempt: the workers, and the tf.data service, if any.

    Attributes:
        stopped: the signal that stopped the launcher, or 0.
        failed: the process that failed first, or None.
    """

    def __init__(self, options: argparse.Namespace, screen: Screen, wakeup: int):
        self.options, self.screen, self.wakeup = options, screen, wakeup
        self.workers: list[Process] = []
        self.services: list[Process] = []
        self.guardian: subprocess.Popen | None = None
        self.others: set[int] = set()  # children of other origin: the guardian, those from before an exec
        self.stopped, self.failed, self.killed = 0, None, False
        self.asked: list[int] = []  # signals to the launcher
        self.selector = selectors.DefaultSelector()
        self.selector.register(wakeup, selectors.EVENT_READ)

    def start(self) -> None:
        """Starts all processes, or raises an OSError."""
        null = subprocess.DEVNULL
        guardian = ["/bin/sh", "-c", _GUARDIAN]
        self.guardian = subprocess.Popen(
            guardian, stdin=subprocess.PIPE, stdout=null, stderr=null, bufsize=0, start_new_session=True
        )
        self.others = children()
        *ports, data_port = free_ports(self.options.workers + 1)
        address = f"127.0.0.1:{data_port}"
        data_workers = self.options.data_workers
        if data_workers:
            # Data workers run on the CPU. The memory of the GPUs is for the trainers.
            environment = {"TF_CPP_MIN_LOG_LEVEL": "1", **os.environ, "CUDA_VISIBLE_DEVICES": ""}
            environment.pop("TF_CONFIG", None)
            command = [sys.executable, "-m", "keras_seq.distribution.launch", _DATA_SERVICE]
            for index in range(-1, data_workers):
                role, title = ("dispatcher",) * 2 if index < 0 else ("worker", f"data worker {index}")
                process = Process(title, [*command, role, address], environment, self.screen)
                self._add(self.services, process)
        for rank in range(self.options.workers):
            environment = worker_environment(rank, ports, f"grpc://{address}" if data_workers else None)
            self._add(self.workers, Process(f"worker {rank}", self.options.command, environment, self.screen, rank))

    def _add(self, processes: list[Process], process: Process) -> None:
        processes.append(process)
        with contextlib.suppress(OSError):
            self.guardian.stdin.write(b"%d\n" % process.pid)
        for output in process.outputs:
            self.selector.register(output.pipe, selectors.EVENT_READ, output)

    def run(self) -> None:
        """Returns when all workers have ended: normally, because one failed, or on a signal."""
        deadline = None  # None: no worker has received SIGTERM
        gone = False
        while not gone:
            gone = all([worker.gone() for worker in self.workers])
            self._show(0.0 if gone else 0.2)
            if self.screen.closed and not self.stopped:
                self.asked.append(signal.SIGPIPE)
            for number in self.asked:
                if self.stopped and number == signal.SIGINT:
                    deadline = time.monotonic()
                if not self.stopped:
                    self.stopped = number
                    name, again = signal.Signals(number).name, " Ctrl-C again kills them." * (number == signal.SIGINT)
                    self.screen.say(f"{name}: the workers have {self.options.grace} s to save and end.{again}")
                    deadline = deadline or self._ask_to_end(self.options.grace)
            self.asked.clear()
            if not self.failed and (failed := self._first_failure()):
                self.failed = failed
                memory = " (out of memory?)" if failed.code == -signal.SIGKILL else ""
                self.screen.say(f"{failed.title} failed after {failed.seconds():.0f} s: {failed.how()}{memory}.")
                deadline = deadline or self._ask_to_end(min(self.options.grace, _FAILED_GRACE))
            running = [worker.title for worker in self.workers if worker.code is None]
            if not running and not deadline:
                deadline = time.monotonic() + _LEFTOVERS_GRACE
            if deadline and time.monotonic() >= deadline:
                if running and not self.killed:
                    self.screen.say(f"killed, since SIGTERM did not end them in time: {', '.join(running)}.")
                self._kill()
        if self.stopped:
            ends = ", ".join(f"{worker.title}: {worker.how()}" for worker in self.workers)
            self.screen.say(f"all have ended: {ends}.")

    def _ask_to_end(self, grace: float) -> float:
        """Sends SIGTERM to the workers and their descendants. Returns the time at which they will be killed."""
        for worker in self.workers:
            worker.send(signal.SIGTERM)
        return time.monotonic() + grace

    def _kill(self) -> None:
        self.killed = True
        for process in (*self.workers, *self.services):
            process.send(signal.SIGKILL)

    def _first_failure(self) -> Process | None:
        if self.killed:
            return None
        harmless = (None, 0, -signal.SIGTERM, 128 + signal.SIGTERM) if self.stopped else (None, 0)
        failed = [worker for worker in self.workers if worker.code not in harmless]
        if any(worker.code is None for worker in self.workers):
            failed += [service for service in self.services if service.gone()]
        # Several may be found dead together. One that a signal killed did not die because of the others.
        return min(failed, key=lambda process: process.code > 0, default=None)

    def _show(self, seconds: float) -> bool:
        """Shows new output and stores signals. Waits at most `seconds` for either, and returns whether one came."""
        events = self.selector.select(seconds)
        for key, _ in events:
            if key.data is None:
                self.asked += [number for number in os.read(self.wakeup, 4096) if number != signal.SIGCHLD]
            elif not key.data.read():
                self.selector.unregister(key.fileobj)
        return bool(events)

    def close(self) -> None:
        """Kills all remaining processes, shows their output, and dismisses the guardian."""
        self.selector.unregister(self.wakeup)  # a signal that comes now is for the next attempt
        limit = time.monotonic() + 5.0
        self._kill()
        ended = False
        while (self._show(0.0 if ended else 0.05) or not ended) and time.monotonic() < limit:
            ended = all([process.gone() for process in (*self.workers, *self.services)]) and not self._kill_orphans()
        self.screen.progress(b"")
        for process in (*self.workers, *self.services):
            process.close()
        self.selector.close()
        if self.guardian:
            self.guardian.kill()
            self.guardian.wait()
            self.guardian.stdin.close()

    def _kill_orphans(self) -> bool:
        """Kills processes that left their worker's session and lost their parents. Returns whether there were any."""
        orphans = children() - self.others
        for pid in orphans:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        return bool(orphans)

    def show_failure(self) -> None:
        """Shows the last lines of the failed process, and a line for each other process that failed after it."""
        if not self.failed:
            return
        by_us = (None, 0, -signal.SIGTERM, -signal.SIGKILL, 128 + signal.SIGTERM)
        for worker in self.workers:
            if worker is not self.failed and worker.code not in by_us:
                self.screen.say(f"{worker.title} failed after it: {worker.how()}.")
        lines = self.failed.last_lines()
        self.screen.say(f"{self.failed.title}, {self.failed.how()}, " + ("ended with:" if lines else "wrote nothing."))
        for line in lines:
            self.screen.line(2, self.failed.prefix + line)

    def exit_code(self) -> int:
        if self.stopped and self.stopped != signal.SIGTERM:
            return 128 + self.stopped
        code = self.failed.code if self.failed else next((w.code for w in self.workers if w.code), 0)
        return 128 - code if code < 0 else code or int(self.failed is not None)


def _listen() -> int:
    """Catches the signals that end the launcher. Returns the file with the numbers of the received signals."""
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, lambda *_: None)
    return reading


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m keras_seq.distribution.launch",
        usage="%(prog)s --workers N [options] -- COMMAND ...",
        description="Starts N workers of one training on this machine, and ends them together.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--workers", type=_count(1), required=True, metavar="N", help="number of workers, each with its TF_CONFIG")
    add(
        "--data-workers",
        type=_count(0),
        default=0,
        metavar="M",
        help="number of tf.data workers (default: 0, no service)",
    )
    add(
        "--max-restarts", type=_count(0), default=0, metavar="R", help="number of restarts after a failure (default: 0)"
    )
    add("--grace", type=_count(0), default=60, metavar="SECONDS", help="time to save and end on SIGTERM (default: 60)")
    split = argv.index("--") if "--" in argv else len(argv)
    options, unknown = parser.parse_known_args(argv[:split])
    options.command = list(argv[split + 1 :])
    if not options.command:
        given = " ".join(unknown) or "COMMAND ..."
        parser.error(f"there is no command. It comes after `--`: --workers {options.workers} -- {given}")
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.command[0] in ("python", "python3"):
        options.command[0] = sys.executable
    if not shutil.which(options.command[0]):
        parser.error(f"the command {options.command[0]!r} is not found, or is not a program")
    return options


def _count(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {least}. Received: {text!r}")
        return int(text)

    return count


if __name__ == "__main__":
    sys.exit(main())
