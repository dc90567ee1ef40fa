"""The recipes export again and again; what each leaves is tried here in the process that wrote it."""

import contextlib
import subprocess
import types

import pytest

from keras_seq.export import verification


def _run_here(arguments, **_):
    """Does in this process what a fresh one is told to do, without its last line: that this package is not needed."""
    script, *files = arguments[2:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["-c", *files])
        exec(script.partition("assert ")[0], {})
    return types.SimpleNamespace(returncode=0)


@pytest.fixture(scope="module", autouse=True)
def tried_here(request):
    """A fresh process takes seven seconds to start: tests/export has it, `learned` of test_tagging, and long tests."""
    with pytest.MonkeyPatch.context() as patch:
        if "long" not in request.config.option.markexpr.replace("not long", ""):
            instead = types.SimpleNamespace(run=_run_here, TimeoutExpired=subprocess.TimeoutExpired)
            patch.setattr(verification, "subprocess", instead)
        yield


@pytest.fixture(scope="session")
def in_a_fresh_process():
    """`with in_a_fresh_process():` what is exported is tried there, as users have it."""

    @contextlib.contextmanager
    def context():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(verification, "subprocess", subprocess)
            yield

    return context
