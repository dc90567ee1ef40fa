"""The commands in docs/serving.md: each runs as it stands there, as far as it can without Docker and root."""

import json
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from keras_seq import cli
from keras_seq.commands.serve import Serve, check

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def block(beginning):
    """The block of code that begins so."""
    return next(found[1] for found in re.finditer(r"```\n(.*?)```", PAGE, re.S) if found[1].startswith(beginning))


def served(argv):
    """The options of a command line, `.../keras-seq serve ...`."""
    assert argv[0].endswith("keras-seq") and argv[1] == "serve"
    options = cli.parse(Serve, argv[2:])
    check(options)
    return options


def test_the_first_command():
    options = served(shlex.split(block("pip install").splitlines()[1]))
    assert options.model == (pathlib.Path("runs/translation"), pathlib.Path("saved_models/mood"))


def test_the_unit_of_systemd(tmp_path):
    unit = block("[Unit]")
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.M)
    options = served(shlex.split(line))
    assert int(re.search(r"TimeoutStopSec=(\d+)", unit)[1]) > options.deadline and options.workers == 2
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: the unit is not checked further")
    file = tmp_path / "keras-seq.service"
    file.write_text(unit.replace(line, "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True)
    assert "keras-seq.service:" not in done.stderr, done.stderr


def test_the_dockerfile_line_by_line():
    lines = [line.split(" ", 1) for line in block("FROM").splitlines()]
    assert [name for name, _ in lines] == ["FROM", "COPY", "RUN", "RUN", "RUN", "USER", "EXPOSE", "CMD"]
    install = shlex.split(lines[3][1])
    assert install[install.index("--constraint") + 1].replace("/src", str(ROOT)) == str(ROOT / "constraints.txt")
    assert install[-1] == "/src[serve]" and (ROOT / "setup.cfg").is_file() and (ROOT / "constraints.txt").is_file()
    options = served(json.loads(lines[-1][1]))
    assert str(options.port) == lines[6][1] and options.host == "0.0.0.0" and options.token_file is not None


def test_the_server_loads_no_tensorflow():
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    program = (
        "import keras_seq.serving.server, sys; print([name for name in ('keras', 'tensorflow') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


def test_nginx_allows_what_the_server_allows():
    settings = block("server {")
    options = cli.parse(Serve, ["model"])
    assert int(re.search(r"client_max_body_size (\d+)m", settings)[1]) * 10**6 == options.max_body
    assert int(re.search(r"proxy_read_timeout (\d+)s", settings)[1]) > options.deadline
    assert f"127.0.0.1:{options.port}" in settings


def test_statuses_and_metrics_of_the_page_exist():
    from keras_seq.serving.openapi import ERRORS

    table = set(re.findall(r"^\| (\d{3}) \|", PAGE, re.M))
    assert set(ERRORS) <= table
    pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")
    from keras_seq.serving.measures import Measures

    named = set(re.findall(r"`(keras_seq_[a-z_]+)`", PAGE))
    written = Measures({}, 100).written().decode()
    assert named and all(f"# TYPE {name} " in written for name in named)
