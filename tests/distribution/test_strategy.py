import json

import keras
import pytest
import tensorflow as tf

from keras_seq import distribution
from keras_seq.distribution import strategy


@pytest.fixture
def no_cluster(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_what_auto_takes(no_cluster):
    assert distribution.scope("auto").name == "one_device"
    assert strategy._best(2) == "mirrored"
    workers = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}}
    no_cluster.setenv("TF_CONFIG", json.dumps(workers))
    assert strategy._best(None) == "multi_worker_mirrored"
    no_cluster.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["127.0.0.1:1"]}}))
    assert strategy._best(None) == "one_device"
    no_cluster.setenv("SLURM_STEP_NODELIST", "n[1-2]")
    no_cluster.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert strategy._best(None) == "multi_worker_mirrored"
    no_cluster.delenv("SLURM_STEP_NODELIST")
    no_cluster.setenv("TPU_NAME", "local")
    assert strategy._best(None) == "tpu"


def test_a_scope_can_be_entered_again_and_nested(one_device):
    assert str(one_device) == "one_device: 1 replica, 1 worker"
    assert (one_device.chief, one_device.workers, one_device.replicas) == (True, 1, 1)
    assert one_device.any_worker(True) and not one_device.any_worker(False)
    for _ in range(2):
        with one_device, one_device:
            assert tf.distribute.get_strategy() is one_device.strategy
        assert not tf.distribute.has_strategy()


def test_mirrored(two_devices):
    assert str(two_devices) == "mirrored: 2 replicas, 1 worker"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(name="two"), "one of auto, one_device"),
        (dict(name="one_device", replicas=2), "mirrored"),
        (dict(name="mirrored", replicas=0), "Received: 0"),
        (dict(name="mirrored", replicas=2, precision="float16"), "bfloat16"),
        (dict(name="one_device", precision="half"), "float32, float64, bfloat16, float16"),
        (dict(name="multi_worker_mirrored"), "launch --workers"),
    ],
)
def test_what_is_refused(arguments, message, no_cluster, two_devices):
    with pytest.raises(ValueError, match=message):
        distribution.scope(**arguments)


def test_devices_that_come_too_late(two_devices):
    with pytest.raises(RuntimeError, match="before anything else"):
        distribution.divide_cpu(3)


@pytest.mark.parametrize(
    "precision, compute", [("float64", "float64"), ("bfloat16", "bfloat16"), ("float16", "float16")]
)
def test_precision(precision, compute):
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    try:
        distribution.scope("one_device", precision=precision)
        assert keras.config.dtype_policy().compute_dtype == precision
        assert keras.config.dtype_policy().variable_dtype == ("float64" if precision == "float64" else "float32")
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


def test_one_worker_asks_for_all(two_devices, monkeypatch):
    assert two_devices.any_worker(True) and not two_devices.any_worker(False)
    monkeypatch.setattr(distribution.scope, "workers", 2)
    monkeypatch.setattr(two_devices, "_summed", lambda flag: 2 * flag)
    assert two_devices.any_worker(True) and not two_devices.any_worker(False)


def test_the_list_of_workers_of_slurm(no_cluster):
    names = {"NODELIST": "n[1-2]", "NUM_TASKS": "4", "TASKS_PER_NODE": "2(x2)"}
    for name, value in names.items():
        no_cluster.setenv(f"SLURM_STEP_{name}", value)
    no_cluster.setenv("SLURM_PROCID", "3")
    resolver = strategy._slurm_resolver()
    assert resolver.cluster_spec().as_dict() == {"worker": ["n1:8888", "n1:8889", "n2:8888", "n2:8889"]}
    assert (resolver.task_type, resolver.task_id, resolver.num_accelerators()) == ("worker", 3, {"GPU": 0})
    with pytest.raises(RuntimeError, match="make the scope before anything else that computes"):
        strategy._multi_worker_mirrored()  # this process has computed


def test_workers_that_come_too_late(no_cluster):
    cluster = {"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}
    no_cluster.setenv("TF_CONFIG", json.dumps(cluster))
    with pytest.raises(RuntimeError, match="make the scope before anything else that computes"):
        distribution.scope("multi_worker_mirrored")


def test_a_tpu_is_connected_and_initialized_first(monkeypatch):
    steps = []

    def step(name):
        return lambda *resolver: steps.append((name, *resolver)) or name

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", step("resolver"))
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", step("connected"))
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", step("initialized"))
    monkeypatch.setattr(tf.distribute, "TPUStrategy", step("strategy"))
    assert strategy._tpu() == "strategy"
    on = "resolver"
    assert steps == [(on,), ("connected", on), ("initialized", on), ("strategy", on)]
