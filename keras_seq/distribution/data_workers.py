"""Batches from the data workers of a tf.data service, read by the trainers in step."""

from collections.abc import Callable

import tensorflow as tf

from keras_seq.distribution import strategy
from keras_seq.distribution.sharding import split_rows

_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_WRITES = {"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"}  # to a copy that is never read
_REMAKE = ("Cache", "Shuffle")  # data workers create the memory of these again
_SEATS = 2**31
_GOLDEN = 0.6180339887498949  # any number of its multiples are far apart modulo 1
_jobs: set[tuple[str, str]] = set()


def data_service(
    address: str,
    scope: strategy.scope,
    job_name: str = "train",
    *,
    steps_per_epoch: int | None = None,
    on_trainer: Callable[[tf.data.Dataset], tf.data.Dataset] | None = None,
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """The last dataset step: a tf.data service makes the batches, and the trainers share them.

        scope = distribution.scope("auto")
        train = (examples.apply(data.shuffled(seed, first_epoch=resume.initial_epoch)).apply(data.bucketed(...))
                 .apply(distribution.data_service(address, scope, steps_per_epoch=steps)))  # data.count_batches
        model.fit(train)

    All earlier steps run in the data workers. A trainer receives only its rows. Reads are coordinated: in each step all
    trainers have rows of the same batch, with one bucket and one padded width. A batch is for all replicas together, as
    without a service, so a step computes the same update.

    The service makes batches without end, pass after pass over the dataset, and each step of `fit` takes the next one.
    The contents of an epoch depend on the number of data workers:

    - One: every example once per epoch, in the order of the dataset without a service. With `shuffled`, the order
      differs in each epoch.
    - N: each iterates over all the data, from a different start, and they take turns. N epochs together contain each
      example N times. One epoch may contain an example more than once, and omit others. A data worker that is late
      loses its turn, so its examples come later.

    An epoch starts where the last one stopped. `steps_per_execution` must divide the steps. A restarted run does not
    continue at the exact batch: it starts with the epoch given by `first_epoch`. Later changes of the dataset by a
    trainer (`start_epoch`, `data.from_step`) do not reach the data workers, which have a copy. Do not use `from_step`.

    Args:
        address: address of the service, `grpc://host:port`. `launch --data-workers N` puts it in
            KERAS_SEQ_DATA_SERVICE. The call waits for a service that is not running yet.
        scope: the `distribution.scope` of the model.
        job_name: a name for each dataset (training, validation), the same on all workers. A service that outlives a
            training run keeps its jobs, so the next run needs other names.
        steps_per_epoch: number of batches in an epoch. By default the cardinality of the dataset.
        on_trainer: a dataset step for each trainer's rows, such as `callbacks.Throughput.counted()`.
    Raises:
        ValueError: if there is no address, or the job's name is taken. In `apply`: if the number of steps in an epoch
            is unknown, or the dataset cannot be sent: `from_generator`, `py_function`, a variable that it writes. In
            `fit`, an error in a data worker, such as a missing file, is raised as TensorFlow's error.
    """
    if not address:
        raise ValueError(
            "`address` must be that of a tf.data service, grpc://host:port. `python -m keras_seq.distribution.launch "
            f"--data-workers 1` starts one and puts its address in KERAS_SEQ_DATA_SERVICE. Received: {address!r}"
        )
    if (address, job_name) in _jobs:
        raise ValueError(
            f"This process already reads a job {job_name!r} of {address}, and would get batches of that dataset. Give "
            "each dataset a different `job_name`."
        )

    def step(dataset: tf.data.Dataset) -> tf.data.Dataset:
        steps = _steps(dataset, steps_per_epoch)
        register(dataset, steps, address, job_name, scope.workers)
        _jobs.add((address, job_name))

        def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
            rows = read(address, job_name, context.input_pipeline_id, context.num_input_pipelines)
            rows = rows if on_trainer is None else rows.apply(on_trainer)
            local = context.num_replicas_in_sync // context.num_input_pipelines
            if local > 1:
                rows = rows.flat_map(_divided(rows.element_spec, local))
            # With an endless dataset, tf.distribute does not ask all workers in each step for the end of the data.
            endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
            return rows.apply(endless).prefetch(tf.data.AUTOTUNE)

        return _Endless(scope.strategy.distribute_datasets_from_function(of_worker), steps)

    return step


def register(dataset: tf.data.Dataset, steps: int, address: str, job_name: str, workers: int) -> None:
    """Sends the dataset to the service, endless and divided by rows for `workers`. Only the first call counts."""
    # The dispatcher gives each seat to a single data worker. A data worker never requests a second seat, since its
    # passes have no end. So the first data worker starts at the first batch, and each other one elsewhere.
    seats = tf.data.Dataset.range(_SEATS)
    batches = seats.flat_map(lambda seat: dataset.repeat().skip(_place(seat, steps)))
    options = tf.data.Options()
    options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE  # `shuffled` has state
    rows = batches.flat_map(_divided(dataset.element_spec, workers)).prefetch(tf.data.AUTOTUNE).with_options(options)
    _check_can_be_sent(rows)
    tf.data.experimental.service.register_dataset(address, rows, dataset_id=job_name)


def read(address: str, job_name: str, worker: int, workers: int) -> tf.data.Dataset:
    """The rows of each batch for this worker, without end. No worker gets the next batch before all have read this."""
    return tf.data.experimental.service.from_dataset_id(
        # Sharding of the seats. A static policy would require data workers with a fixed list of addresses.
        tf.data.experimental.service.ShardingPolicy.DYNAMIC,
        address,
        dataset_id=job_name,
        job_name=job_name,
        consumer_index=worker,
        num_consumers=workers,
    )


def _steps(dataset: tf.data.Dataset, steps_per_epoch: int | None) -> int:
    steps = int(dataset.cardinality()) if steps_per_epoch is None else steps_per_epoch
    if steps > 0:
        return steps
    if steps_per_epoch is not None:
        raise ValueError(f"`steps_per_epoch` must be positive. Received: {steps_per_epoch}")
    which = {tf.data.INFINITE_CARDINALITY: "is endless", 0: "is empty"}.get(steps, "has an unknown length")
    raise ValueError(
        f"The dataset {which}, but `data_service` needs the length of an epoch: pass `steps_per_epoch`, or count the "
        "batches (`data.count_batches`) and apply `tf.data.experimental.assert_cardinality(count)`."
    )


def _place(seat: tf.Tensor, steps: int) -> tf.Tensor:
    """The batch at which the first pass of a seat starts. 0 for the first seat."""
    return tf.cast(tf.cast(seat, tf.float64) * _GOLDEN % 1.0 * steps, tf.int64)


def _divided(element_spec, count: int) -> Callable:
    """A function of a batch for `flat_map`. The parts have the structure of the batch."""
    if isinstance(element_spec, tuple):
        return lambda *batch: split_rows(batch, count)
    return lambda batch: split_rows(batch, count)


def _check_can_be_sent(dataset: tf.data.Dataset) -> None:
    """Raises now the errors that TensorFlow would raise at the first batch, in a data worker, or never."""
    graph = tf.raw_ops.DatasetToGraphV2(
        input_dataset=tf.data.experimental.to_variant(dataset),
        external_state_policy=tf.data.experimental.ExternalStatePolicy.IGNORE.value,
    )
    graph = tf.compat.v1.GraphDef.FromString(graph.numpy())
    in_functions = {node.op for function in graph.library.function for node in function.node_def}
    if calls := in_functions & _PYTHON:
        raise ValueError(
            f"The dataset calls Python ({', '.join(sorted(calls))}), which data workers cannot run. Use TensorFlow "
            "ops in place of `from_generator`, `py_function` and `numpy_function`, or read files that were prepared "
            "before."
        )
    if writes := in_functions & _WRITES:
        raise ValueError(
            f"The dataset writes a variable ({', '.join(sorted(writes))}), but data workers would write to a copy that "
            "is never read. Count on the trainers: `data_service(..., on_trainer=throughput.counted())`."
        )
    # TensorFlow sends the contents of tables and variables, but only the address of other objects in this process.
    addresses = {node.name for node in graph.node if node.attr["dtype"].type == tf.resource.as_datatype_enum}
    addresses &= {node.name for node in graph.node if node.op == "Const"}
    users = {node.op for node in graph.node if addresses & {name.partition(":")[0] for name in node.input}}
    if users := {op for op in users if not op.startswith(_REMAKE)}:
        raise ValueError(
            f"The dataset uses an object of this process ({', '.join(sorted(users))}), which data workers do not have, "
            "such as an iterator or a DenseHashTable. Other tables and variables are sent along. Use the object on the "
            "trainers, with `on_trainer`."
        )


class _Endless(tf.data.Dataset, tf.distribute.DistributedDataset):
    """The dataset for `fit`: endless, already divided batches, of which `steps` form an epoch.

    It is a `tf.data.Dataset`, because `apply` requires one, but no step can be applied to it. It is a
    `DistributedDataset`, so that `sharding.distributed` leaves it unchanged. All epochs, and all calls of `fit`, share
    one iterator: the readers of a job stay in step as long as none starts over.
    """

    def __init__(self, distributed, steps: int):
        # The constructor of the base class requires a tensor.
        self._distributed, self._steps, self._iterator = distributed, steps, None

    def __iter__(self):
        if self._iterator is None:
            self._iterator = iter(self._distributed)
        return self._iterator

    def cardinality(self) -> tf.Tensor:
        return tf.constant(self._steps, tf.int64)

    @property
    def element_spec(self):
        return self._distributed.element_spec

    @property
    def _variant_tensor(self):
        raise TypeError(
            "No step can be applied after `data_service`: it comes last, after `prefetch` too. Pass steps for the "
            "rows of a trainer as `on_trainer`."
        )

    def _inputs(self) -> list:
        return []
