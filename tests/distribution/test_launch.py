import json
import os
import re
import signal
import subprocess
import sys
import types

import pytest

from keras_seq.distribution import launch
from tests.distribution.workers import (
    BEGIN,
    FAMILY,
    LAUNCH,
    ROOT,
    SAVES,
    alive,
    command,
    launched,
    pids,
    running,
    until,
)
from tests.reference import quick

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def test_each_worker_gets_its_place(tmp_path):
    done = launched(
        """
print(json.dumps({key: os.environ[key] for key in ("TF_CONFIG", "TF_NUM_INTRAOP_THREADS")}))
print("told", file=sys.stderr)
sockets = [link for fd in os.listdir(f"/proc/{os.getppid()}/fd")
           if "socket" in (link := os.readlink(f"/proc/{os.getppid()}/fd/{fd}"))]
print("sockets of the launcher:", sockets)
""",
        tmp_path,
        *("--workers", 3),
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stderr.splitlines()) == ["[0] told", "[1] told", "[2] told"]
    found = {line[:4]: json.loads(line[4:]) for line in done.stdout.splitlines() if "TF_CONFIG" in line}
    assert sorted(found) == ["[0] ", "[1] ", "[2] "]
    configs = [json.loads(found[prefix]["TF_CONFIG"]) for prefix in sorted(found)]
    assert [config["task"] for config in configs] == [{"type": "worker", "index": index} for index in range(3)]
    (cluster,) = {json.dumps(config["cluster"]) for config in configs}
    addresses = json.loads(cluster)["worker"]
    assert len(set(addresses)) == 3 and all(re.fullmatch(r"127\.0\.0\.1:2\d{4}", address) for address in addresses)
    threads = os.environ.get("TF_NUM_INTRAOP_THREADS") or str(max(1, len(os.sched_getaffinity(0)) // 3))
    assert {worker["TF_NUM_INTRAOP_THREADS"] for worker in found.values()} == {threads}
    assert done.stdout.count("sockets of the launcher: []") == 3


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ("raise ValueError('boom')", 1, "exit code 1"),
        ("print('last words'); os._exit(7)", 7, "exit code 7"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "killed by SIGKILL (out of memory?)"),
    ],
)
def test_one_failure_ends_the_others(tmp_path, end, code, told):
    program = FAMILY + "\nif rank == 1:\n    wait_for('worker 0.pid')\n    " + end + "\ntime.sleep(1000)"
    done = launched(program, tmp_path, "--workers", 2)
    assert done.returncode == code
    assert re.search(rf"(?m)^launch: worker 1 failed after \d+ s: {re.escape(told)}\.$", done.stderr)
    errors = done.stderr.splitlines()
    if "boom" in end:
        start = errors.index("launch: worker 1, exit code 1, ended with:")
        assert errors[start + 1] == "[1] Traceback (most recent call last):"
        assert errors[-1] == "[1] ValueError: boom"
    elif "words" in end:
        assert errors[-2:] == ["launch: worker 1, exit code 7, ended with:", "[1] last words"]
    else:
        assert errors[-1] == "launch: worker 1, killed by SIGKILL, wrote nothing."
    assert len(pids(tmp_path)) == 6 and not any(map(alive, pids(tmp_path)))


def test_others_that_fail_later_have_a_line_each():
    """Those that the launcher ended, or that have not ended, have none."""

    def worker(rank, code, lines=()):
        how = launch.Process.how(types.SimpleNamespace(code=code))
        facts = {"title": f"worker {rank}", "code": code, "prefix": b"> "}
        return types.SimpleNamespace(**facts, how=lambda: how, last_lines=lambda: list(lines))

    said = []
    screen = types.SimpleNamespace(say=said.append, line=lambda to, text: said.append(text))
    codes = (0, 3, 1, None, -signal.SIGTERM, -signal.SIGSEGV, 128 + signal.SIGTERM)
    workers = [worker(rank, code, [b"last words"]) for rank, code in enumerate(codes)]
    launch._Job.show_failure(types.SimpleNamespace(failed=workers[1], workers=workers, screen=screen))
    assert said == [
        "worker 2 failed after it: exit code 1.",
        "worker 5 failed after it: killed by SIGSEGV.",
        "worker 1, exit code 3, ended with:",
        b"> last words",
    ]
    said.clear()
    launch._Job.show_failure(types.SimpleNamespace(failed=None, workers=workers, screen=screen))
    assert said == []


def test_a_job_whose_guardian_cannot_start_is_closed(monkeypatch):
    def no_process(*arguments, **options):
        raise OSError("no process")

    monkeypatch.setattr(launch.subprocess, "Popen", no_process)
    monkeypatch.setattr(launch, "children", set)
    shown = []
    wakeup, other = os.pipe()
    try:
        job = launch._Job(None, types.SimpleNamespace(progress=shown.append), wakeup)
        with pytest.raises(OSError, match="no process"):
            job.start()
        job.close()
    finally:
        os.close(wakeup)
        os.close(other)
    assert shown == [b""] and job.selector.get_map() is None


def test_a_worker_that_is_deaf_to_sigterm_is_killed(tmp_path):
    program = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(here / f"deaf {rank}").touch()
wait_for(f"deaf {1 - rank}")
if rank == 1:
    sys.exit(5)
time.sleep(1000)
"""
    done = launched(program, tmp_path, *("--workers", 2, "--grace", 1))
    assert done.returncode == 5
    assert "launch: killed, since SIGTERM did not end them in time: worker 0." in done.stderr


def test_all_may_fail_before_the_launcher_looks(tmp_path):
    done = launched("os._exit(3)", tmp_path, "--workers", 4)
    assert done.returncode == 3 and re.search(r"launch: worker \d, exit code 3, wrote nothing\.", done.stderr)


@pytest.mark.parametrize(
    "number",
    quick([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], few=[signal.SIGTERM, signal.SIGKILL]),
    ids=lambda number: number.name,
)
def test_nothing_outlives_the_launcher(tmp_path, number):
    with running(FAMILY + "\ntime.sleep(1000)", tmp_path, "--workers", 2) as launcher:
        assert until(lambda: len(pids(tmp_path)) == 6) and all(map(alive, pids(tmp_path)))
        launcher.send_signal(number)
        _, errors = launcher.communicate(timeout=60)
        # Who has left the session of its worker is found by a launcher that can still look for it.
        family = pids(tmp_path)
        if number == signal.SIGKILL:
            family = [int(path.read_text()) for path in tmp_path.glob("*.pid") if "escaped" not in path.name]
        assert until(lambda: not any(map(alive, family)))
    assert launcher.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert f"launch: {number.name}: the workers have 60 s to save and end." in errors
        assert "worker 0: killed by SIGTERM, worker 1: killed by SIGTERM" in errors


def test_sigterm_lets_the_workers_save(tmp_path):
    with running(SAVES, tmp_path, *("--workers", 2, "--max-restarts", 3)) as launcher:
        assert until(lambda: len(pids(tmp_path)) == 2)
        launcher.terminate()
        _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 0 and {path.name for path in tmp_path.glob("saved*")} == {"saved 0", "saved 1"}
    assert "worker 0: exit code 0, worker 1: exit code 0" in errors and "restart" not in errors


def test_a_shell_around_the_worker_does_not_keep_it_from_saving(tmp_path):
    shell = [
        "/bin/sh",
        "-c",
        '"$@"; echo the shell goes on',
        "sh",
        sys.executable,
        "-S",
        "-c",
        BEGIN + SAVES,
        tmp_path,
    ]
    with subprocess.Popen([*LAUNCH, "--workers", "1", "--", *shell], cwd=ROOT, stderr=subprocess.PIPE) as launcher:
        assert until(lambda: pids(tmp_path))
        launcher.terminate()
        launcher.communicate(timeout=60)
    assert (tmp_path / "saved 0").exists()


def test_a_second_ctrl_c_kills(tmp_path):
    program = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FAMILY + "\ntime.sleep(1000)"
    with running(program, tmp_path, *("--workers", 1, "--grace", 1000)) as launcher:
        assert until(lambda: len(pids(tmp_path)) == 3)
        launcher.send_signal(signal.SIGINT)
        assert launcher.stderr.readline() == (
            "launch: SIGINT: the workers have 1000 s to save and end. Ctrl-C again kills them.\n"
        )
        launcher.send_signal(signal.SIGINT)
        _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 130 and "worker 0: killed by SIGKILL" in errors


def test_when_nobody_reads_any_more_the_workers_may_save(tmp_path):
    reading, writing = os.pipe()
    with running("print('x', flush=True)\n" + SAVES, tmp_path, "--workers", 1, stdout=writing) as launcher:
        os.close(writing)
        assert os.read(reading, 4)
        os.close(reading)
        # Only what is written now meets the closed pipe.
        assert until(lambda: pids(tmp_path))
        launcher.terminate()
        launcher.communicate(timeout=60)
    assert (tmp_path / "saved 0").exists()
    talkative = "signal.signal(signal.SIGTERM, lambda *_: ((here / 'told').touch(), os._exit(0)))\n"
    talkative += "while True: print('x', flush=True); time.sleep(0.01)"
    with running(talkative, tmp_path, "--workers", 1) as launcher:
        assert launcher.stdout.readline() == "[0] x\n"
        launcher.stdout.close()
        assert launcher.wait(60) == 128 + signal.SIGPIPE
    assert (tmp_path / "told").exists()


FAILS = """
attempts = len(list(here.glob(f"{rank} *")))
(here / f"{rank} {attempts}").write_text(os.environ["TF_CONFIG"])
wait_for(f"{1 - rank} {attempts}")
if rank == 1 and attempts < int(sys.argv[2]):
    raise RuntimeError("again the same")
if attempts < int(sys.argv[2]):
    time.sleep(1000)
"""


@pytest.mark.parametrize(("failures", "restarts"), quick([(2, 3), (2, 2), (9, 1), (9, 0)], few=[(2, 2), (9, 1)]))
def test_restarts_are_counted(tmp_path, failures, restarts):
    line = command(FAILS, tmp_path, *("--workers", 2, "--max-restarts", restarts))
    done = subprocess.run([*line, str(failures)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == (0 if failures <= restarts else 1)
    told = re.findall(r"launch: worker 1 failed: all start again, restart (\d) of (\d)\.", done.stderr)
    made = min(failures, restarts)
    assert told == [(str(index + 1), str(restarts)) for index in range(made)]
    gave_up = f"launch: worker 1 failed, and all {restarts} restarts are used."
    assert (gave_up in done.stderr) == (0 < restarts < failures)
    assert done.stderr.count("launch: worker 1, exit code 1, ended with:") == min(failures, restarts + 1)
    configs = [json.loads(path.read_text())["cluster"]["worker"] for path in tmp_path.glob("0 *")]
    assert len(configs) == made + 1 == len(set(map(tuple, configs)))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--workers 2", "there is no command. It comes after `--`: --workers 2 -- COMMAND"),
        ("--workers 2 python -m recipes.x", "It comes after `--`: --workers 2 -- python -m recipes.x"),
        ("--workers 2 --", "there is no command"),
        ("--workers 0 -- python", "--workers: must be an integer of at least 1. Received: '0'"),
        ("--workers two -- python", "Received: 'two'"),
        ("-- python", "--workers"),
        ("--workers 1 --max-restarts -1 -- python", "--max-restarts"),
        ("--workers 1 --color -- python", "unrecognized arguments: --color"),
        ("--workers 1 -- no-such-program -x", "the command 'no-such-program' is not found"),
        ("--workers 1 -- ./no/such/file", "the command './no/such/file' is not found"),
    ],
)
def test_bad_command_lines_are_told(capsys, line, told):
    with pytest.raises(SystemExit) as stop:
        launch.main(line.split())
    assert stop.value.code == 2 and told in capsys.readouterr().err.splitlines()[-1]


def test_a_file_that_is_no_program(tmp_path):
    (tmp_path / "program").write_bytes(b"\0\1\2")
    (tmp_path / "program").chmod(0o755)
    line = [*LAUNCH, "--workers", "2", "--", tmp_path / "program"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 126
    assert done.stderr.startswith("launch: cannot start: ") and str(tmp_path / "program") in done.stderr


def test_help_is_short_and_needs_no_tensorflow(capsys):
    with pytest.raises(SystemExit):
        launch.main(["--help"])
    text = capsys.readouterr().out
    assert len(text.splitlines()) < 20 and "--data-workers" in text and "-- python -m recipes." in text
    program = (
        "import sys, keras_seq.distribution.launch\nsys.exit(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_ports_are_free_and_differ():
    ports = launch.free_ports(50)
    assert len(set(ports)) == 50 and all(20_000 <= port < 30_000 for port in ports)
    with pytest.raises(OSError, match="10001 free ports are needed"):
        launch.free_ports(10_001)


def test_a_dispatcher_that_dies_is_a_failure(tmp_path):
    program = """
service = os.environ["KERAS_SEQ_DATA_SERVICE"].removeprefix("grpc://")
for pid in filter(str.isdigit, os.listdir("/proc")):
    line = pathlib.Path(f"/proc/{pid}/cmdline")
    if line.exists() and f"\\0data-service\\0dispatcher\\0{service}\\0".encode() in line.read_bytes():
        os.kill(int(pid), signal.SIGKILL)
time.sleep(1000)
"""
    done = launched(program, tmp_path, *("--workers", 1, "--data-workers", 1))
    assert done.returncode == 137 and "launch: dispatcher failed after" in done.stderr


@pytest.mark.long
def test_a_data_service_for_the_workers(tmp_path):
    program = """
import os, socket, sys, pathlib, time
service = os.environ["KERAS_SEQ_DATA_SERVICE"]
host, port = service.removeprefix("grpc://").split(":")
with socket.socket() as client:  # test_data_workers.py reads from a service
    while client.connect_ex((host, int(port))):
        time.sleep(0.05)
    print("there", service.rpartition(":")[0])
tasks = [pathlib.Path(f"/proc/{pid}/cmdline") for pid in os.listdir("/proc") if pid.isdigit()]
here = f"\\0{service.removeprefix('grpc://')}\\0".encode()
services = [path.parent.name for path in tasks if path.exists() and here in path.read_bytes()]
pathlib.Path(sys.argv[1], "services").write_text(" ".join(services))
"""
    line = [*LAUNCH, "--workers", "1", "--data-workers", "1", "--", "python", "-S", "-c", program, tmp_path]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "[0] there grpc://127.0.0.1" in done.stdout.splitlines()
    services = list(map(int, (tmp_path / "services").read_text().split()))
    assert len(services) == 2 and not any(map(alive, services))
    assert "launch:" not in done.stderr
