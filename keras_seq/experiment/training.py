"""Fits a model into its run folder: progress, checkpoints, resuming, early stopping, and the choice of weights."""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_seq import callbacks, data, distribution, optimizers, training
from keras_seq.experiment.budget import learning_rate
from keras_seq.experiment.options import Options
from keras_seq.inspection import parameters, plots


def adamw(options: Options, train: training.TrainingData, **arguments: Any) -> optimizers.AdamW:
    """AdamW with the schedule and the `weight_decay` of the options. Gradients are clipped to norm 1.

    Args:
        options: options of the recipe.
        train: training data, whose amount the schedule spans.
        arguments: further arguments of `optimizers.AdamW`.
    """
    return optimizers.AdamW(
        learning_rate(options, train), weight_decay=options.weight_decay, global_clipnorm=1.0, **arguments
    )


def fit(
    options: Options,
    model: keras.Model,
    train: training.TrainingData,
    valid: tf.data.Dataset | None,
    run: training.Run,
    scope: distribution.scope,
    *,
    monitor: str | None = "val_loss",
    mode: str = "min",
    validate: Callable[[], Mapping[str, Any]] | None = None,
    watching: Iterable[keras.callbacks.Callback] = (),
) -> None:
    """Fits the model, resuming an interrupted run, and keeps the weights with the best validation score.

    The run folder gets checkpoints, `history.csv`, `gradients.csv`, `best.keras`, `parameters.txt` and
    `plots/learning_curve.png`. A step with a NaN or an infinity ends training with a diagnosis, see
    `training.GradientMonitor`. Workers other than the chief return after the chief has called `finish`.

    Training ends after `options.epochs`, or after `options.patience` epochs without a better score. With a budget, a
    round stands for an epoch, and the whole budget is used. The weights kept are those of the best epoch, or the mean
    of the last `options.average` checkpoints if that scores better. Without a monitor, all epochs are trained, and the
    mean of the last checkpoints is kept.

    Args:
        options: options of the recipe.
        model: compiled model, built in the scope.
        train: training data of `training_data` or `batches`.
        valid: batches for Keras's validation, or None.
        run, scope: run of `run_folder` and scope of `setup`.
        monitor: name of the score, from `validate` or, without it, from Keras's validation on `valid`. None: no
            validation data.
        mode: "max" if a larger score is better, "min" if a smaller one is.
        validate: function that scores the current model, for example by decoding: `{"val_bleu": 30.2}`. The scores are
            added to the epoch's logs.
        watching: further callbacks, after those that save the epoch.
    Raises:
        training.NotFiniteError: if a loss or a gradient is not finite. The run can be replayed and resumed.
    """
    throughput = callbacks.Throughput()
    writes = options.tensorboard and scope.chief
    gradients = training.GradientMonitor(run, tensorboard=run.path / "tensorboard" / "gradients" if writes else None)
    resume = training.Resume(
        run,
        options.average,
        options.save_every,
        callbacks=[*train.stateful(), gradients],
        epoch_aware=train.epoch_aware,
        agree=scope.any_worker,
    )
    patience = options.patience if train.rounds is None else train.epochs
    print(f"{type(model).__name__}, {model.count_params():,} parameters; {train}; {scope}.")
    if resume.initial_epoch or resume.initial_step:
        print(_resuming(train, run, resume))
    model.fit(
        _fed(options, train, scope, resume, throughput),
        validation_data=valid,
        epochs=train.epochs,
        shuffle=False,  # the dataset shuffles
        verbose=1 if sys.stdout.isatty() else 2,  # a log file gets a line for each epoch, not a progress bar
        callbacks=[
            throughput,
            *train.callbacks(),
            gradients,
            *([] if validate is None else [callbacks.Evaluator(validate)]),
            *([keras.callbacks.TensorBoard(str(run.path / "tensorboard"))] if writes else []),
            resume,
            *([] if monitor is None else [training.EarlyStopping(run, monitor, mode=mode, patience=patience)]),
            *watching,
        ],
    )
    if not scope.chief:  # the others must not leave before the chief has finished
        scope.any_worker(False)
        return
    run.write("parameters.txt", parameters.shown(parameters.table(model)) + "\n")
    plots.learning_curve(run.history, run.plots / "learning_curve.png")
    if monitor is None:
        training.average_checkpoints(model, resume.checkpoints.paths())
        with training.atomic_write(run.best) as temporary:
            model.save(temporary)
        return
    measured = validate or (lambda: _keras_validation(model, valid, run, scope))
    chosen = training.choose_weights(model, run, lambda: measured()[monitor], mode=mode)
    kept = "the mean" if chosen.mean_is_kept else "the best epoch"
    mean = "" if chosen.mean is None else f", {chosen.mean:.4g} with the mean of the last checkpoints: {kept} is kept"
    print(f"Validation {monitor.removeprefix('val_')}: {chosen.best:.4g} with the weights of the best epoch{mean}.")


def _resuming(train: training.TrainingData, run: training.Run, resume: training.Resume) -> str:
    steps = f" and {resume.initial_step:,} steps" if resume.initial_step else ""
    name = "epoch" if train.rounds is None else "round"
    return f"Resuming {run.path} after {name} {resume.initial_epoch} of {train.epochs}{steps}."


def _fed(
    options: Options, train: training.TrainingData, scope: distribution.scope, resume: training.Resume, throughput
):
    """The training batches, counted, from the step at which the run resumes, or from a tf.data service."""
    counted = throughput.counted()
    if options.data_service:
        for start in resume.epoch_aware:  # the service gets a copy
            start.start_epoch(resume.initial_epoch)
        return train.batches.apply(distribution.data_service(options.data_service, scope, on_trainer=counted))
    if train.rounds is not None:  # which begin at any step
        return train.batches.apply(counted).prefetch(8)
    rest = data.from_step(0)
    resume.epoch_aware.append(rest)
    return train.batches.apply(rest).apply(counted).prefetch(8)


def _keras_validation(model: keras.Model, valid: tf.data.Dataset, run: training.Run, scope: distribution.scope):
    if scope.workers > 1:  # the other workers have stopped and cannot take their share
        alone = keras.models.load_model(run.best)
        alone.set_weights(model.get_weights())
        model = alone
    return {f"val_{name}": value for name, value in model.evaluate(valid, verbose=0, return_dict=True).items()}
