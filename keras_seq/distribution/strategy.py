"""The scope in which a model is built, which sets the devices and workers for its training."""

import json
import os
import re
from collections.abc import Callable
from typing import Literal

import keras
import tensorflow as tf

from keras_seq import products
from keras_seq.distribution import keras_patches

Name = Literal["auto", "one_device", "mirrored", "multi_worker_mirrored", "tpu"]
Precision = Literal["auto", "float32", "bfloat16", "float16", "float64"]


class scope:  # noqa: N801 - read as a word in `with distribution.scope("auto"):`
    """A scope for models that are built and compiled in it, which can be fit on any number of devices as on one.

        scope = distribution.scope("auto")     # early: workers find each other here
        with scope:
            model = models.Seq2Seq(...)
            model.compile("adam", losses.TokenCrossentropy())
        model.fit(dataset)

    The dataset has whole batches, the same as on one device. Each batch is split over the replicas by rows. So a token
    budget is that of all replicas together, and the updates are those of one device for batches of any shape: losses
    are sums over all replicas divided by the tokens of all replicas, gradients are summed before clipping, and the
    `loss` of an epoch is the loss per token. The reasons are in `keras_patches.py`.

    Every worker reads the whole dataset and takes its rows of each batch, so the order must be the same on all workers.
    Seed it with `data.shuffled(seed)` for files and `keras.utils.set_random_seed` for arrays. `data_service` shares the
    reading.

    Args:
        name: "one_device"; "mirrored", all GPUs of this machine; "multi_worker_mirrored", all GPUs of all workers,
            found by TF_CONFIG or, under Slurm, by TensorFlow's resolver; "tpu"; or "auto", the first that applies of
            several workers, a TPU, several GPUs and one device.
        replicas: number of devices for "mirrored". Without GPUs the CPU is divided into that many, which is useful for
            tests and not faster.
        precision: "float32"; "auto", float32 with the large products of training in bfloat16 where a CPU is faster at
            them, see `keras_seq.products`; "bfloat16" (weights stay float32); "float16" (on one device only); or
            "float64". It applies to all Keras objects made from now on. None keeps Keras's settings.
    Attributes:
        strategy: the `tf.distribute.Strategy`.
        replicas: total number of devices.
        workers: number of processes.
        chief: whether this process writes files.
    Raises:
        ValueError: if the name or the precision is unknown, there are fewer devices than replicas, or float16 is used
            on several replicas.
        RuntimeError: if the devices were used before the scope was made, and the scope does not allow that.
    """

    def __init__(self, name: Name = "auto", *, replicas: int | None = None, precision: Precision | None = None):
        makers: dict[str, Callable[[], tf.distribute.Strategy]] = {
            "one_device": _one_device,
            "mirrored": lambda: _mirrored(replicas),
            "multi_worker_mirrored": _multi_worker_mirrored,
            "tpu": _tpu,
        }
        if name != "auto" and name not in makers:
            raise ValueError(f"`name` must be one of auto, {', '.join(makers)}. Received: {name!r}")
        name = _best(replicas) if name == "auto" else name
        if replicas is not None and name != "mirrored":
            raise ValueError(f'`replicas` is for "mirrored". Received: replicas={replicas} for {name!r}')
        self.name = name
        self.strategy = makers[name]()
        self.replicas = self.strategy.num_replicas_in_sync
        if precision is not None:
            _set_precision(precision, self.replicas)
        keras_patches.patch_keras(self.strategy)
        self._summed = tf.function(self._sum, autograph=False)  # eager calls would make TensorFlow warn
        self._entered = []

    @property
    def workers(self) -> int:
        return _workers(self.strategy)

    @property
    def chief(self) -> bool:
        resolver = self.strategy.cluster_resolver
        return self.workers == 1 or resolver is None or (resolver.task_id or 0) == 0

    def any_worker(self, flag: bool) -> bool:
        """Whether the flag is set on any worker. All workers must call this at the same step."""
        if self.workers == 1:
            return flag
        with self.strategy.scope():
            return float(self._summed(tf.constant(float(flag)))) > 0

    def _sum(self, number: tf.Tensor) -> tf.Tensor:
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(lambda: number), axis=None)

    def __enter__(self) -> "scope":
        self._entered.append(self.strategy.scope())
        self._entered[-1].__enter__()
        return self

    def __exit__(self, *raised) -> None:
        self._entered.pop().__exit__(*raised)

    def __repr__(self) -> str:
        def counted(number: int, what: str) -> str:
            return f"{number} {what}{'s' * (number != 1)}"

        return f"{self.name}: {counted(self.replicas, 'replica')}, {counted(self.workers, 'worker')}"


def _best(replicas: int | None) -> str:
    if replicas is not None:
        return "mirrored"
    if len(json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {}).get("worker", [])) > 1:
        return "multi_worker_mirrored"
    if _under_slurm() and int(os.environ["SLURM_STEP_NUM_TASKS"]) > 1:
        return "multi_worker_mirrored"
    if os.environ.get("TPU_NAME"):
        return "tpu"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "one_device"


def _one_device() -> tf.distribute.Strategy:
    return tf.distribute.OneDeviceStrategy("GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0")


def _mirrored(replicas: int | None) -> tf.distribute.Strategy:
    gpus = len(tf.config.list_physical_devices("GPU"))
    kind = "GPU" if gpus else "CPU"
    replicas = (gpus or 1) if replicas is None else replicas
    if not gpus:
        divide_cpu(replicas)
    if replicas < 1 or replicas > len(tf.config.list_logical_devices(kind)):
        raise ValueError(f"There are {gpus} GPUs for `replicas`. Received: {replicas}")
    # On CPUs TensorFlow's default is collectives, which mix up two strategies of one process.
    across = None if gpus else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy([f"{kind}:{number}" for number in range(replicas)], across)


def divide_cpu(devices: int) -> None:
    """Divides the CPU into at least `devices` logical devices.

    Raises:
        RuntimeError: if TensorFlow has already used the CPU, which fixes their number.
    """
    (cpu,) = tf.config.list_physical_devices("CPU")
    if len(tf.config.get_logical_device_configuration(cpu) or [0]) >= devices:
        return
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    except RuntimeError:
        raise RuntimeError(
            f"The CPU cannot be divided into {devices} devices after TensorFlow has used it. Make the scope (or call "
            "`distribution.divide_cpu`) before anything else that computes: models, datasets, tensors."
        ) from None


def _multi_worker_mirrored() -> tf.distribute.Strategy:
    if os.environ.get("TF_CONFIG"):
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    elif _under_slurm():
        resolver = _slurm_resolver()
    else:
        raise ValueError(
            "Neither TF_CONFIG nor Slurm's variables (SLURM_STEP_NODELIST) list the workers. On one machine, run "
            "`python -m keras_seq.distribution.launch --workers N -- COMMAND`. See also docs/distribution.md."
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except RuntimeError as error:
        raise RuntimeError(
            "The workers must be connected before TensorFlow is used: make the scope before anything else that "
            f"computes (models, datasets, tensors). TensorFlow raised: {error}"
        ) from error


def _slurm_resolver() -> tf.distribute.cluster_resolver.ClusterResolver:
    """TensorFlow's resolver, used only for the list of workers. By default it also calls `nvidia-smi` for the GPUs,
    which nodes without GPUs lack, and divides the GPUs among the tasks of a node, as Slurm does already."""
    # The largest number of tasks in a list such as "2(x3),1".
    tasks = max(int(tasks) for tasks in re.findall(r"(?:^|,)(\d+)", os.environ["SLURM_STEP_TASKS_PER_NODE"]))
    slurm = tf.distribute.cluster_resolver.SlurmClusterResolver(
        gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
    )
    cluster = slurm.cluster_spec()  # this also finds the task
    gpus = len(tf.config.list_physical_devices("GPU"))
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        cluster, task_type=slurm.task_type, task_id=slurm.task_id, num_accelerators={"GPU": gpus}
    )


def _under_slurm() -> bool:
    return "SLURM_STEP_NODELIST" in os.environ and "SLURM_STEP_NUM_TASKS" in os.environ


def _tpu() -> tf.distribute.Strategy:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


def _set_precision(precision: str, replicas: int) -> None:
    policies = {"auto": "float32"} | {name: name for name in ("float32", "float64")}
    policies |= {name: f"mixed_{name}" for name in ("bfloat16", "float16")}
    if precision not in policies:
        raise ValueError(f"`precision` must be one of {', '.join(policies)}. Received: {precision!r}")
    if precision == "float16" and replicas > 1:
        raise ValueError(keras_patches.NO_FLOAT16)
    keras.config.set_floatx("float64" if precision == "float64" else "float32")
    keras.config.set_dtype_policy(policies[precision])
    products.set_dtype("auto" if precision == "auto" else "float32")


def _workers(strategy: tf.distribute.Strategy) -> int:
    hosts = getattr(strategy.extended, "num_hosts", None)  # of a TPU
    return hosts or strategy.num_replicas_in_sync // len(strategy.extended.worker_devices)
