"""Fits a model into its run folder: progress, checkpoints, going on, early stopping, and which weights are kept."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_seq import callbacks, data, distribution, optimizers, schedules, training
from keras_seq.experiment.options import Options
from keras_seq.inspection import parameters, plots


def learning_rate(options: Options, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """The schedule of `options` over `steps` updates an epoch.

    On very little data the warm-up is cut to a quarter of the whole, and that is told.
    """
    total = max(2, options.epochs * steps)
    warmup, peak = max(1, min(options.warmup_steps, total // 4)), options.learning_rate
    if warmup < options.warmup_steps:
        print(f"Warm-up: {warmup:,} updates, a quarter of all {total:,}, in place of {options.warmup_steps:,}.")
    if options.schedule == "linear":
        return schedules.LinearDecay(peak, warmup, total)
    if options.schedule == "inverse_square_root":
        return schedules.InverseSquareRoot(peak, warmup)
    rising = {"initial_learning_rate": peak / warmup, "warmup_target": peak, "warmup_steps": warmup}
    return keras.optimizers.schedules.CosineDecay(decay_steps=total - warmup, **rising)


def adamw(options: Options, batches: tf.data.Dataset, **arguments: Any) -> optimizers.AdamW:
    """AdamW with the schedule and the `weight_decay` of the options; gradients are clipped to norm 1.

    Args:
        batches: of an epoch.
        arguments: further ones of `optimizers.AdamW`.
    """
    rate = learning_rate(options, int(batches.cardinality()))
    return optimizers.AdamW(rate, weight_decay=options.weight_decay, global_clipnorm=1.0, **arguments)


def fit(
    options: Options,
    model: keras.Model,
    train: tf.data.Dataset,
    valid: tf.data.Dataset | None,
    run: training.Run,
    scope: distribution.scope,
    *,
    monitor: str | None = "val_loss",
    mode: str = "min",
    validate: Callable[[], Mapping[str, Any]] | None = None,
    epoch_aware: Sequence[Any] = (),
    watching: Iterable[keras.callbacks.Callback] = (),
) -> bool:
    """Fits the model, goes on where the run stopped, and leaves it with the weights that validate best.

    The run folder gets checkpoints, `history.csv`, `best.keras`, `parameters.txt` and `plots/learning_curve.png`.
    Training ends after `options.epochs`, or `options.patience` of them without a better score. The weights kept are
    the best epoch's, or the mean of the last `options.average` checkpoints if that scores better. With nothing to
    monitor all epochs are trained, and the mean of the last checkpoints is kept.

    Args:
        options: of the recipe.
        model: compiled, built in the scope.
        train: batches that know their number; their order a function of the epoch that `starts` are told.
        valid: batches for Keras's own validation, or None.
        run, scope: of `run_folder` and `setup`.
        monitor: the score: one that `validate` gives or, without it, Keras's own validation on `valid`. None: no data
            is held out to validate on.
        mode: "max" where more of it is better, "min" where less is.
        validate: measures the model as it is, by decoding say: `{"val_bleu": 30.2}`, and the epoch's logs have it.
        epoch_aware: what must be told which epoch begins: `data.shuffled`, noise.
        watching: further callbacks.
    Returns:
        Whether this process goes on: the chief. Another worker has waited here until the chief came to `finish`.
    """
    resume = training.Resume(run, options.average, options.save_every, epoch_aware=epoch_aware, agree=scope.any_worker)
    throughput = callbacks.Throughput()
    steps = int(train.cardinality())
    print(f"{type(model).__name__}, {model.count_params():,} parameters; {steps} batches an epoch; {scope}.")
    model.fit(
        _fed(options, train, scope, resume, throughput),
        validation_data=valid,
        epochs=options.epochs,
        shuffle=False,  # the dataset does that
        verbose=1 if sys.stdout.isatty() else 2,  # in a log file a line for each epoch, and no bars
        callbacks=[
            throughput,
            *([] if validate is None else [callbacks.Evaluator(validate)]),
            *watching,
            resume,
            *([] if monitor is None else [training.EarlyStopping(run, monitor, mode=mode, patience=options.patience)]),
        ],
    )
    if not scope.chief:  # the others must not leave before the chief has finished
        scope.any_worker(False)
        return False
    run.write("parameters.txt", parameters.shown(parameters.table(model)) + "\n")
    plots.learning_curve(run.history, run.plots / "learning_curve.png")
    if monitor is None:
        training.average_checkpoints(model, resume.checkpoints.paths())
        with training.atomic_write(run.best) as temporary:
            model.save(temporary)
        return True
    measured = validate or (lambda: _keras_validation(model, valid, run, scope))
    chosen = training.choose_weights(model, run, lambda: measured()[monitor], mode=mode)
    mean = "" if chosen.mean is None else f", {chosen.mean:.4g} of the mean of the last checkpoints"
    print(f"Validation {monitor.removeprefix('val_')}: {chosen.best:.4g} of the best epoch{mean}.")
    return True


def _fed(options: Options, train: tf.data.Dataset, scope: distribution.scope, resume: training.Resume, throughput):
    """The training batches on their way: counted, and begun where the run goes on; or made by a service."""
    if options.data_service:
        for start in resume.epoch_aware:  # the service gets a copy
            start.start_epoch(resume.initial_epoch)
        counted = throughput.counted()
        return train.apply(distribution.data_service(options.data_service, scope, on_trainer=counted))
    rest = data.from_step(0)
    resume.epoch_aware.append(rest)
    return train.apply(rest).apply(throughput.counted()).prefetch(8)


def _keras_validation(model: keras.Model, valid: tf.data.Dataset, run: training.Run, scope: distribution.scope):
    if scope.workers > 1:  # the others are not there any more to take their share
        alone = keras.models.load_model(run.best)
        alone.set_weights(model.get_weights())
        model = alone
    return {f"val_{name}": value for name, value in model.evaluate(valid, verbose=0, return_dict=True).items()}
