"""The protocol of a task whose models are compared, and the parts of a model that are counted."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import keras

from keras_seq.layers import RecurrentStack, TransformerStack

Values = Mapping[str, Any]


class Contender(Protocol):
    """One task that models of all architectures are trained on, such as `experiment.RecipeTrainer`.

    Attributes:
        monitor: name of the validation score that runs are judged by, and "max" or "min".
        memory_task: name of the task if its lengths are numbers of steps to remember. None otherwise.
    """

    monitor: tuple[str, str]
    memory_task: str | None

    def train(self, values: Values, run: pathlib.Path, callbacks: Sequence[keras.callbacks.Callback]) -> Any:
        """Trains a model in its run folder up to its budget, or resumes it, and returns it in any form.

        `values` has `architecture`, `units`, `learning_rate` and `seed`. For models that are not trained to the end it
        has no budget either: `budget_tokens` and `budget_seconds` are None. `callbacks` come last.
        """

    def identity(self) -> dict[str, Any]:
        """JSON values that must be the same when a comparison is continued."""

    def width_step(self, architecture: str) -> int:
        """The number of which the valid widths of an architecture are multiples."""

    def shape(self) -> dict[str, Any]:
        """`num_layers`, `num_heads` and `bidirectional` of all models."""

    def scores_by_length(self, values: Values, task: Any) -> Sequence[Mapping[str, float]] | None:
        """Scores of validation examples by length, for the value that `train` has returned. None: unknown.

        A row for each length or range of lengths: `{"from", "to", "rows", "score"}`, the shortest and longest length,
        the number of examples and their mean score.
        """

    def feedforward(self, runs: Mapping[str, pathlib.Path]) -> dict[str, Any] | None:
        """The result of `feedforward.measure` beside the best run of each architecture. None: not measured."""

    def chance(self) -> float | None:
        """The score of the best answer that ignores the input. None: unknown."""

    def data_name(self) -> str:
        """The name of the data."""


class Stopped(Exception):
    """Ends a `fit` whose model is all that is wanted.

    Attributes:
        value: the model, or parts of its training.
    """

    def __init__(self, value: Any):
        super().__init__("stopped before the training")
        self.value = value


class _StopAtModel(keras.callbacks.Callback):
    def set_model(self, model):
        raise Stopped(model)


def built_model(contender: Contender, values: Values, run: pathlib.Path) -> keras.Model:
    """The model of a contender, built and not trained.

    Args:
        contender: the task.
        values: options of the model.
        run: path of a run folder for files such as the vocabulary.
    """
    try:
        contender.train({**values, "budget_tokens": None, "budget_seconds": None}, run, [_StopAtModel()])
    except Stopped as stopped:
        return stopped.value
    raise ValueError("The contender has trained no model with its callbacks.")


def backbone(model: keras.Model, architecture: str) -> list[keras.layers.Layer]:
    """The layers between the embeddings and the output that differ between architectures.

    These are the stack of the architecture, with the projection before it, or the layers named after a baseline. For
    any other model, all layers but embeddings and the last one.
    """
    stacks = [layer for layer in model.layers if _is_stack(layer, architecture)]
    if stacks:
        return [*(layer for layer in model.layers if layer.name == "projection"), *stacks]
    prefixes = (f"{architecture}_", "window_") if architecture == "cnn" else (f"{architecture}_",)
    named = [layer for layer in model.layers if layer.name.startswith(prefixes)]
    return named or [layer for layer in model.layers[:-1] if not isinstance(layer, keras.layers.Embedding)]


def _is_stack(layer: keras.layers.Layer, architecture: str) -> bool:
    if isinstance(layer, TransformerStack):
        return architecture == "transformer"
    return isinstance(layer, RecurrentStack) and layer.cell == architecture


def parameters_of(layers: Sequence[keras.layers.Layer]) -> int:
    """The number of weights of layers, each weight once."""
    weights = {id(weight): weight for layer in layers for weight in layer.weights}
    return sum(int(keras.ops.size(weight)) for weight in weights.values())


def input_width(layers: Sequence[keras.layers.Layer]) -> int:
    """The width of the input of a backbone."""
    shape = layers[0].weights[0].shape  # of a kernel, `(..., input, output)`, or of a normalization
    return shape[-2] if len(shape) > 1 else shape[0]
