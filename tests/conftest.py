"""Set before TensorFlow or JAX is imported: quiet logs, and one thread for each of xdist's processes."""

import contextlib
import ctypes
import fcntl
import gc
import ipaddress
import os
import pathlib
import shutil
import socket
import sys
from collections.abc import Callable

import hypothesis
import pytest

from tests import tiers

# A busy machine is no failure, and a test leaves nothing behind.
hypothesis.settings.register_profile("keras_seq", deadline=None, database=None)
hypothesis.settings.load_profile("keras_seq")
pytest.register_assert_rewrite("tests.checks")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("MPLBACKEND", "agg")
# JAX compiles thousands of small programs here, each to run once or twice.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

TENSORFLOW = os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow"
SUPPORTS_JIT, CONVERSION_RULES = pytest.StashKey(), pytest.StashKey()


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """In each process that runs tests: the one that only gives them to xdist's processes needs no TensorFlow. Coverage
    has begun, so that it sees the imports."""
    config = session.config
    if not TENSORFLOW or (config.getoption("numprocesses", None) and not hasattr(config, "workerinput")):
        return
    # Two devices for tests/distribution, before any module of tests computes something and so fixes their number.
    from keras_seq import distribution

    distribution.divide_cpu(2)

    # See `data.without_autotune`: Keras's own datasets are let go of here by the thousand, and each may hang.
    from tensorflow.python.data.ops import dataset_ops

    from keras_seq import data

    apply = dataset_ops.DatasetV2._apply_debug_options
    dataset_ops.DatasetV2._apply_debug_options = lambda dataset: apply(data.without_autotune(dataset))

    from keras.src.trainers import trainer
    from tensorflow.python.autograph.core import config as autograph

    config.stash[SUPPORTS_JIT] = trainer.model_supports_jit
    config.stash[CONVERSION_RULES] = autograph.CONVERSION_RULES


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Small models are traced and compiled for seconds to run for milliseconds: without XLA, where nothing asks for it,
    and without TensorFlow's rewriting of graphs. The long tests of recipes and exports have both, as users do.

    AutoGraph, which runs a copy of a dataset's functions, is for the long tests: nothing of the package needs it, and
    to make the copies takes time. No coverage sees their lines.
    """
    if not TENSORFLOW:
        return
    import tensorflow as tf
    from keras.src.trainers import trainer
    from tensorflow.python.autograph.core import config as autograph

    long = item.get_closest_marker("long") is not None and item.get_closest_marker("covered") is None
    rules = item.config.stash[CONVERSION_RULES]
    autograph.CONVERSION_RULES = rules if long else (autograph.DoNotConvert("keras_seq"), *rules)
    as_users = item.path.parent.name in ("recipes", "export") and long
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": not as_users})
    # What `jit_compile="auto"` asks.
    trainer.model_supports_jit = item.config.stash[SUPPORTS_JIT] if as_users else lambda model: False


def pytest_collection_finish(session: pytest.Session) -> None:
    """A million objects of TensorFlow's modules stay anyway: from here on no collection looks through them again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After each file. TensorFlow registers every gradient of one's own that it meets in a graph, under a new name and
    for ever, and with it the graph; a few thousand of these are gigabytes, and slow each collection of garbage down."""
    if "tensorflow" in sys.modules and (nextitem is None or nextitem.path != item.path):
        from tensorflow.python.framework import ops

        registry = ops.gradient_registry._registry
        for name in [name for name in registry if name.startswith("CustomGradient-")]:
            del registry[name]
        for function in vars(item.module).values():  # the file's functions with a cache, which holds models and graphs
            if getattr(function, "__module__", None) == item.module.__name__ and hasattr(function, "cache_clear"):
                function.cache_clear()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # where there is no glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free goes back to the system


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m real_data` is what asks for data that is not in the checkout. `tests/tiers.py` explains `covered`."""
    covered = set(tiers.LIST.read_text(encoding="utf-8").splitlines())
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker("real_data")
        if item.nodeid in covered:
            for marker in ("covered", "long", *(() if TENSORFLOW else ("long_on_jax",))):
                item.add_marker(marker)


@pytest.fixture(scope="session", autouse=True)
def only_loopback():
    """An address that other machines could reach is an error, in this process."""
    bind = socket.socket.bind

    def checked(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = "0.0.0.0" if address[0] == "" else address[0]
            assert host == "localhost" or ipaddress.ip_address(host).is_loopback, f"A test opened {address}."
        return bind(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "bind", checked)
        yield


@pytest.fixture(scope="session")
def made_once(request, tmp_path_factory) -> Callable[[str, Callable[[pathlib.Path], object]], pathlib.Path]:
    """`made_once("folders", make)` is a folder that `make(folder)` has filled, once for all of xdist's processes.

    What is in it is for reading: a test that changes something copies it first.
    """
    root = tmp_path_factory.getbasetemp()
    root = (root.parent if hasattr(request.config, "workerinput") else root) / "made_once"
    root.mkdir(exist_ok=True)

    def get(name: str, make: Callable[[pathlib.Path], object]) -> pathlib.Path:
        folder, done = root / name, root / f"{name}.done"
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, or the process ends
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of one that was ended in the middle
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return get


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], pathlib.Path]:
    """`real_data("multi30k")` is that data set's folder; where it is not to be had, the test is skipped.

    Looked for in the folder that KERAS_SEQ_DATA names, else in `shared/data` beside the checkout.
    """
    beside = pathlib.Path(__file__).parents[2] / "shared" / "data"
    root = pathlib.Path(os.environ.get("KERAS_SEQ_DATA", beside))

    def find(name: str) -> pathlib.Path:
        if not (root / name).is_dir():
            pytest.skip(f"no data set {name!r} in {root}; KERAS_SEQ_DATA names the folder of data sets")
        return root / name

    return find
