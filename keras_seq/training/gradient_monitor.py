"""Logs the norms of gradients, weights and updates, and stops at a NaN with a diagnosis."""

import csv
import importlib.util
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_seq.training.diagnosis import Diagnosis, diagnose, diagnose_weights
from keras_seq.training.failed_step import load_step, save_step
from keras_seq.training.run_folder import Run
from keras_seq.training.step_watch import StepWatch

_KINDS = ("gradient", "weight", "update")


class NotFiniteError(ValueError):
    """A training step with a NaN or an infinity. Its message is the diagnosis.

    Attributes:
        diagnosis: the diagnosis, or None if the step could not be repeated here.
        path: folder of the step, for `keras-seq replay`, or None.
    """

    def __init__(self, message: str, diagnosis: Diagnosis | None = None, path: pathlib.Path | None = None):
        super().__init__(message)
        self.diagnosis, self.path = diagnosis, path


class GradientMonitor(keras.callbacks.Callback):
    """Logs norms of gradients, and ends training with a diagnosis at the first step that is not finite.

        model.fit(train, callbacks=[training.GradientMonitor("runs/a"), training.Resume("runs/a"), ...])

    The gradients are those that `fit` computes, before clipping, summed over the replicas. With gradient accumulation
    they are those of a step, not of their mean. The logs of an epoch, so also `history.csv`, get `gradient_norm`, the
    mean global norm of its steps, and `largest_gradient_norm`. Every `every` steps a row is added to `gradients.csv`:
    the global norms of gradients, weights and updates, and those of each layer. An update is the change of the weights
    in one execution of `fit`: `steps_per_execution` steps.

    If the loss or a gradient is NaN or infinite, the step changes nothing: weights, optimizer and random states stay
    those before it. `fit` raises `NotFiniteError`, whose message names the layer and the operation where the value
    arose, and the step is saved in `nan-step-N` for `keras-seq replay`. Steps that Keras's loss scale skips, in
    float16, are no fault.

    It must come before `training.Resume`, which saves the logs, and the model must be compiled in a scope of
    `keras_seq.distribution` if it has several replicas. `docs/nan.md` has an example.

    Args:
        run: a `Run` or the path of a folder, for `gradients.csv` and a failed step. None: nothing is written.
        every: number of steps between two rows. Each row costs a copy of the weights.
        tensorboard: folder of event files with the same numbers, or None. Requires the package tensorboard.
    Raises:
        ValueError: if `every` is not positive.
        ImportError: if `tensorboard` is given and the package is not installed.
        NotFiniteError: in `fit`.
    """

    # No hook at the end of a batch, since `fit` would wait for the device after every step.

    def __init__(
        self,
        run: Run | str | os.PathLike | None = None,
        every: int = 100,
        tensorboard: str | os.PathLike | None = None,
    ):
        super().__init__()
        if every < 1:
            raise ValueError(f"`every` must be at least 1. Received: {every}")
        self.run = run
        self.every = every
        self.tensorboard = tensorboard
        self._watch: StepWatch | None = None
        self._writers = []
        if tensorboard is not None and self._chief:
            _require_tensorboard()
            self._writers = [tf.summary.create_file_writer(str(tensorboard))]

    @property
    def _folder(self) -> pathlib.Path | None:
        return None if self.run is None else getattr(self.run, "path", None) or pathlib.Path(self.run)

    @property
    def _chief(self) -> bool:
        return getattr(self.run, "chief", True)

    def on_train_begin(self, logs=None):
        if self._watch is None or not self._watch.watches(self.model):
            self._watch = StepWatch(self.model)
        self._watch.attach()
        self._layers = _by_layer(self._watch.weights, f"{self.model.name}/")
        self._steps = 0  # executed in this `fit`
        self._before: tuple[int, list[tf.Tensor]] | None = None
        self._epoch = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._epoch is None and self._folder is not None and self._chief:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._keep_rows_until(self._watch.steps)  # `Resume` has restored the optimizer
        self._epoch = epoch
        self._norm_sum, self._norm_max, self._norm_steps = 0.0, 0.0, 0  # of the epoch, as far as they are collected
        self._watch.reset()

    def on_train_batch_begin(self, batch, logs=None):
        self._stop_if_failed()
        self._add_row()
        if self._steps % self.every < self.model.steps_per_execution:
            self._before = self._watch.updates, self._weights()
        self._steps += self.model.steps_per_execution

    def on_test_begin(self, logs=None):
        if self._watch is not None and self._watch.attached:  # the validation of `fit`
            self._stop_if_failed(wait=True)

    def on_epoch_end(self, epoch, logs=None):
        self._stop_if_failed(wait=True)
        self._add_row()
        self.collect_state()
        if logs is not None and self._norm_steps:
            logs.update(gradient_norm=self._norm_sum / self._norm_steps, largest_gradient_norm=self._norm_max)

    def on_train_end(self, logs=None):
        self._watch.detach()
        for writer in self._writers:
            writer.flush()

    def collect_state(self) -> None:
        """Reads the sums of the epoch, so that a checkpoint inside it has them: `Resume(callbacks=[monitor])`."""
        norms = self._watch.collect_norms()
        self._norm_sum, self._norm_steps = self._norm_sum + norms.total, self._norm_steps + norms.steps
        self._norm_max = max(self._norm_max, norms.largest)

    # Rows

    def _weights(self) -> list[tf.Tensor]:
        return [tf.convert_to_tensor(weight.value) for weight in self._watch.weights]

    def _add_row(self) -> None:
        if self._before is None:
            return
        (first, before), self._before = self._before, None
        if self._watch.updates == first:  # the data ended, or a loss scale skipped the step
            return
        after = self._weights()
        squares = {
            "gradient": self._watch.gradient_squares(),
            "weight": _squares(after),
            "update": _squares([new - old for new, old in zip(after, before, strict=True)]),
        }
        if not np.isfinite(squares["weight"]).all():
            self._stop_for_weights()
        norms = {f"{kind}_norm": float(np.sqrt(squares[kind].sum())) for kind in _KINDS}
        for kind in _KINDS:
            norms |= {f"{kind}_norm/{layer}": norm for layer, norm in self._norms_by_layer(squares[kind]).items()}
        self._write({"learning_rate": self._learning_rate(), "loss": self._watch.loss, **norms})

    def _norms_by_layer(self, squares: np.ndarray) -> dict[str, float]:
        return {layer: float(np.sqrt(squares[places].sum())) for layer, places in self._layers.items()}

    def _write(self, values: Mapping[str, float]) -> None:
        step = self._watch.steps
        if self._folder is not None and self._chief:
            with open(self._folder / "gradients.csv", "a", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                if not file.tell():
                    writer.writerow(["step", "epoch", *values])
                writer.writerow([step, self._epoch + 1, *(f"{value:.6g}" for value in values.values())])
        for writer in self._writers:
            with writer.as_default(step=step):
                for name, value in values.items():
                    tf.summary.scalar(name, value)

    def _keep_rows_until(self, step: int) -> None:
        """Leaves out the rows that a run wrote after the checkpoint from which it is resumed."""
        path = self._folder / "gradients.csv"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines[1:] if line.split(",")[0].isdigit() and int(line.split(",")[0]) <= step]
        if lines:
            path.write_text("".join(f"{line}\n" for line in [lines[0], *kept] if kept), encoding="utf-8")

    def _learning_rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    # The end

    def _stop_if_failed(self, wait: bool = False) -> None:
        if self._watch.batch is None and not (wait and self._watch.failed):
            return
        self._watch.detach()
        step, batch = self._watch.steps + 1, self._watch.batch
        good, failed = self._watch.gradient_squares(), self._watch.gradient_squares(failed=True)
        norms = {"gradient": self._norms_by_layer(good), "weight": self._norms_by_layer(_squares(self._weights()))}
        facts = {"learning_rate": self._learning_rate(), "loss": self._watch.loss, "norms": norms}
        path, saved = self._save(batch, step, facts)
        diagnosis, text = self._diagnosis(batch, path)
        bad = [
            weight.path for weight, square in zip(self._watch.weights, failed, strict=True) if not np.isfinite(square)
        ]
        if diagnosis is not None and diagnosis.origin is None and bad:
            text += f"\n  `fit` had gradients that were not finite: {', '.join(bad[:3])}."
        heading = (
            f"Training stopped at step {step:,}: its loss or a gradient is NaN or infinite, so nothing was updated."
        )
        raise NotFiniteError("\n".join([heading, text, *shown_facts(facts), saved]), diagnosis, path)

    def _save(self, batch: Any, step: int, facts: Mapping[str, Any]) -> tuple[pathlib.Path | None, str]:
        if self._folder is None:
            return None, "  The step was not saved, since `GradientMonitor` has no folder: GradientMonitor(run)."
        try:
            path = save_step(self._folder, self.model, batch, step, facts, self._chief)
        except (OSError, ValueError, TypeError, NotImplementedError) as error:  # a model that Keras cannot save
            return None, f"  The step could not be saved: {error}"
        if not self._chief:
            return None, "  The chief has saved the step."
        return path, f"  Saved with the weights before the step: keras-seq replay {path}"

    def _diagnosis(self, batch: Any, path: pathlib.Path | None) -> tuple[Diagnosis | None, str]:
        strategy = self.model.distribute_strategy
        try:
            if strategy.num_replicas_in_sync == 1:
                diagnosis = diagnose(self.model, batch)
                return diagnosis, str(diagnosis)
            if path is None:
                return None, "  With several replicas, only a saved step is diagnosed, by the chief."
            diagnosis = load_step(path).diagnose()
        except Exception as error:  # of a step that does not run eagerly: the message must come nevertheless
            return None, f"  The step could not be repeated eagerly: {type(error).__name__}: {error}"
        several = strategy.num_replicas_in_sync > len(strategy.extended.worker_devices)
        return diagnosis, f"{diagnosis}" + "\n  The batch has the rows of this worker only." * several

    def _stop_for_weights(self) -> None:
        self._watch.detach()
        diagnosis = diagnose_weights(self.model)
        heading = (
            f"Training stopped before step {self._watch.steps + 1:,}: weights are not finite, although the losses and "
            "gradients since the last row were."
        )
        saved = "  Nothing was saved, since no step failed. `every=1` looks at the weights after each step."
        raise NotFiniteError("\n".join([heading, str(diagnosis), saved]), diagnosis)


def shown_facts(facts: Mapping[str, Any]) -> list[str]:
    """Lines about the last good step: learning rate, loss, norms, the layers with the largest gradients."""
    if not any(facts["norms"]["gradient"].values()):
        return [f"  Learning rate {facts['learning_rate']:.3g}. It was the first step since training was started."]
    lines = [f"  Learning rate {facts['learning_rate']:.3g}. Loss of the last good step: {facts['loss']:.4g}."]
    for kind, layers in facts["norms"].items():
        total = float(np.sqrt(sum(norm**2 for norm in layers.values())))
        top = sorted(layers.items(), key=lambda pair: -pair[1])[:3]
        named = ", ".join(f"{layer} {norm:.3g}" for layer, norm in top)
        lines.append(f"  Norm of the {kind}s then: {total:.4g}. Largest: {named}.")
    return lines


def _by_layer(weights: Iterable[Any], prefix: str) -> dict[str, list[int]]:
    """The places of the weights of each layer, by the path that they share, without the name of the model."""
    layers: dict[str, list[int]] = {}
    for place, weight in enumerate(weights):
        path = weight.path.removeprefix(prefix)
        layers.setdefault(path.rpartition("/")[0] or path, []).append(place)
    return layers


def _squares(tensors: Iterable[tf.Tensor]) -> np.ndarray:
    """The squared norms, in float64, whose range they cannot leave."""
    return np.array([np.square(tensor.numpy().astype("float64")).sum() for tensor in tensors])


def _require_tensorboard() -> None:
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError('`tensorboard` needs the package: pip install "keras-seq[tensorboard]"')
