"""Batches that the data workers of a tf.data service make, and that the trainers read in step."""

from collections.abc import Callable

import tensorflow as tf

from keras_seq.distribution import strategy
from keras_seq.distribution.sharding import split_rows

_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_WRITES = {"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"}  # of a copy that nobody reads
_REMAKE = ("Cache", "Shuffle")  # data workers make their memory anew
_SEATS = 2**31
_GOLDEN = 0.6180339887498949  # its multiples modulo 1 lie far apart, however many there are
_jobs: set[tuple[str, str]] = set()


def data_service(
    address: str,
    scope: strategy.scope,
    job_name: str = "train",
    *,
    steps_per_epoch: int | None = None,
    on_trainer: Callable[[tf.data.Dataset], tf.data.Dataset] | None = None,
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step, the last one, that has the batches made by a tf.data service, and shared among the trainers.

        scope = distribution.scope("auto")
        train = (examples.apply(data.shuffled(seed, first_epoch=resume.initial_epoch)).apply(data.bucketed(...))
                 .apply(distribution.data_service(address, scope, steps_per_epoch=steps)))  # data.count_batches
        model.fit(train)

    All before it runs in the data workers; a trainer gets no more than its rows. Reads are coordinated: in each step
    all trainers have rows of the same batch, of one bucket and one padded width. The batches are whole ones, for all
    replicas together, as without a service, so one step is the same update.

    The service makes batches without end, pass after pass over the dataset, and a step of `fit` takes the next one.
    What an epoch holds depends on the number of data workers:

    - One: every example once an epoch, in the order that the dataset has without a service, with `shuffled` another
      one each epoch.
    - N: each goes through all the data, from a place of its own, and they take turns. N epochs together hold each
      example N times; one epoch may hold an example more than once, and others not at all. A data worker that is late
      loses its turn, so that its examples come later than that.

    The next epoch goes on where one was broken off; `steps_per_execution` must divide the steps. A run that is
    restarted does not go on at the very batch: it begins an epoch, and `first_epoch` says which. What a trainer tells
    the dataset later (`start_epoch`, `data.from_step`) does not reach the data workers, which have a copy; leave
    `from_step` out.

    Args:
        address: of the service, `grpc://host:port`; `launch --data-workers N` puts it in KERAS_SEQ_DATA_SERVICE. A
            service that is not there yet is waited for.
        scope: the `distribution.scope` of the model.
        job_name: one for each dataset (training, validation), the same on all workers. A service that outlives a
            training keeps its jobs, so that the next training needs other names.
        steps_per_epoch: batches of an epoch; by default all that the dataset says it has.
        on_trainer: a dataset step for the trainer's own rows; `callbacks.Throughput.counted()`, say.
    Raises:
        ValueError: if there is no address, or the job's name is taken. In `apply`: if the steps of an epoch are not
            known, or the dataset cannot be sent: `from_generator`, `py_function`, a variable that it writes. In
            `fit`, what goes wrong in a data worker, a file that is not there say, is TensorFlow's error.
    """
    if not address:
        raise ValueError(
            "`address` must be that of a tf.data service, grpc://host:port; `python -m keras_seq.distribution.launch "
            f"--data-workers 1` starts one and puts it in KERAS_SEQ_DATA_SERVICE. Received: {address!r}"
        )
    if (address, job_name) in _jobs:
        raise ValueError(
            f"This process reads a job {job_name!r} of {address} already, and would get that dataset's batches: give "
            "each dataset a `job_name` of its own."
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
            # An endless dataset spares tf.distribute asking all workers in each step whether there is one more.
            endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
            return rows.apply(endless).prefetch(tf.data.AUTOTUNE)

        return _Endless(scope.strategy.distribute_datasets_from_function(of_worker), steps)

    return step


def register(dataset: tf.data.Dataset, steps: int, address: str, job_name: str, workers: int) -> None:
    """Sends the dataset to the service, endless and divided by rows for so many workers; the first to do so counts."""
    # A seat goes to one data worker alone: the dispatcher hands them out. Who has one never comes for another, since
    # its passes have no end. So the first data worker begins at the beginning, and each further one elsewhere.
    seats = tf.data.Dataset.range(_SEATS)
    batches = seats.flat_map(lambda seat: dataset.repeat().skip(_place(seat, steps)))
    options = tf.data.Options()
    options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE  # `shuffled` has some
    rows = batches.flat_map(_divided(dataset.element_spec, workers)).prefetch(tf.data.AUTOTUNE).with_options(options)
    _check_can_be_sent(rows)
    tf.data.experimental.service.register_dataset(address, rows, dataset_id=job_name)


def read(address: str, job_name: str, worker: int, workers: int) -> tf.data.Dataset:
    """The rows that are this worker's of each batch, without end. A step is over for none before all have asked."""
    return tf.data.experimental.service.from_dataset_id(
        # Of the seats: a static policy would want data workers that know of each other.
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
    which = {tf.data.INFINITE_CARDINALITY: "is endless", 0: "is empty"}.get(steps, "does not know its length")
    raise ValueError(
        f"The dataset {which}, and `data_service` must know where an epoch ends: give `steps_per_epoch`, or count its "
        "batches (`data.count_batches`) and apply `tf.data.experimental.assert_cardinality(count)`."
    )


def _place(seat: tf.Tensor, steps: int) -> tf.Tensor:
    """The batch at which the first pass of a seat begins; 0 for the first seat."""
    return tf.cast(tf.cast(seat, tf.float64) * _GOLDEN % 1.0 * steps, tf.int64)


def _divided(element_spec, count: int) -> Callable:
    """A function of a batch for `flat_map`; the parts have the batch's structure."""
    if isinstance(element_spec, tuple):
        return lambda *batch: split_rows(batch, count)
    return lambda batch: split_rows(batch, count)


def _check_can_be_sent(dataset: tf.data.Dataset) -> None:
    """Says here and now what TensorFlow would say at the first batch, in the data workers' words, or never."""
    graph = tf.raw_ops.DatasetToGraphV2(
        input_dataset=tf.data.experimental.to_variant(dataset),
        external_state_policy=tf.data.experimental.ExternalStatePolicy.IGNORE.value,
    )
    graph = tf.compat.v1.GraphDef.FromString(graph.numpy())
    in_functions = {node.op for function in graph.library.function for node in function.node_def}
    if calls := in_functions & _PYTHON:
        raise ValueError(
            f"The dataset calls Python ({', '.join(sorted(calls))}), which data workers do not have: write it in "
            "TensorFlow's ops, in place of `from_generator`, `py_function` and `numpy_function`, or read files that "
            "were prepared before."
        )
    if writes := in_functions & _WRITES:
        raise ValueError(
            f"The dataset writes a variable ({', '.join(sorted(writes))}), of which data workers have a copy that "
            "nobody reads. Count on the trainers: `data_service(..., on_trainer=throughput.counted())`."
        )
    # TensorFlow sends the contents of tables and variables, and of what else lives in this process the address.
    addresses = {node.name for node in graph.node if node.attr["dtype"].type == tf.resource.as_datatype_enum}
    addresses &= {node.name for node in graph.node if node.op == "Const"}
    users = {node.op for node in graph.node if addresses & {name.partition(":")[0] for name in node.input}}
    if users := {op for op in users if not op.startswith(_REMAKE)}:
        raise ValueError(
            f"The dataset uses an object of this process ({', '.join(sorted(users))}), which data workers do not have: "
            "an iterator, say, or a DenseHashTable; other tables and variables are sent along. Use it on the trainers, "
            "by `on_trainer`."
        )


class _Endless(tf.data.Dataset, tf.distribute.DistributedDataset):
    """What `fit` takes: batches divided already, without end, of which so many steps are an epoch.

    A `tf.data.Dataset`, since `apply` gives nothing else, to which nothing can be applied; and distributed, so that
    `split.distributed` leaves it as it is. Every epoch, and every `fit`, goes on in the one iterator: readers of a job
    are in step as long as none begins again.
    """

    def __init__(self, distributed, steps: int):
        # Not the base's, which wants a tensor.
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
            "Nothing can be applied after `data_service`: it comes last, after `prefetch` too. What trainers must do "
            "with their rows goes into `on_trainer`."
        )

    def _inputs(self) -> list:
        return []
