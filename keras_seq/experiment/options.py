"""Flags of every recipe."""

import dataclasses
import os
import pathlib
import sys
from typing import Any, Literal, TypeVar

from keras_seq.cli import option

T = TypeVar("T", bound="Options")

# Options that do not identify a run: a run that differs in no other option is resumed.
NOT_IDENTITY = ("config", "run", "export", "overwrite", "download", "save_every", "strategy", "data_service")
NOT_IDENTITY += ("tensorboard",)


@dataclasses.dataclass(frozen=True)
class Options:
    """Flags of every recipe.

    A recipe's options are a dataclass that inherits from this one. It redeclares fields to change their default or
    help text. `--help` shows the recipe's flags first, then these.

    `run` and `export` default to `runs/NAME` and `saved_models/NAME`. NAME is the name of the module that defines the
    recipe's dataclass.
    """

    epochs: int = option(20, "greatest number of epochs")
    budget_tokens: float | None = option(
        None, "number of target tokens to train on in place of --epochs (of examples, for data without tokens)"
    )
    budget_seconds: float | None = option(None, "seconds to train in place of --epochs, without validation")
    rounds: int = option(10, "number of rounds of a budget: equal parts, with a validation after each")
    learning_rate: float = option(1e-3, "peak learning rate")
    schedule: Literal["linear", "cosine", "inverse_square_root"] = option("linear", "decay after the warm-up")
    warmup_steps: int = option(100, "number of warm-up updates, at most a quarter of all")
    patience: int = option(8, "number of epochs without a better validation score before training ends")
    average: int = option(3, "number of last checkpoints to average, if that validates better (1: none)")

    config: pathlib.Path | None = option(
        None, "config.json of a run that sets the options, which flags override", config=True
    )
    run: pathlib.Path | None = option(None, "run folder (default: runs/ and the recipe's name)")
    export: pathlib.Path | None = option(
        None, "folder of the SavedModel (default: saved_models/ and the recipe's name)"
    )
    overwrite: bool = option(False, "replacement of another run in the run folder")
    init_from: pathlib.Path | None = option(None, "run folder with the initial weights, under any vocabulary")
    save_every: int | None = option(None, "number of updates between checkpoints inside an epoch")
    tensorboard: bool = option(False, "event files for TensorBoard, in the run folder")
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker_mirrored", "tpu"] = option(
        "auto", "devices and workers to train on (docs/distribution.md)"
    )
    data_service: str | None = option(
        os.environ.get("KERAS_SEQ_DATA_SERVICE"),
        "tf.data service that makes the batches (docs/distribution.md)",
    )
    precision: Literal["float32", "auto", "bfloat16", "float16"] = option(
        "float32", "compute dtype of the layers (auto: float32, with large products of training in bfloat16 if faster)"
    )
    seed: int = option(1, "random seed for data order and weight initialization")
    deterministic: bool = option(False, "bitwise equal weights for equal seeds (slower)")

    def __post_init__(self):
        name = self.recipe.rpartition(".")[2]
        for field, folder in (("run", "runs"), ("export", "saved_models")):
            if getattr(self, field) is None:
                object.__setattr__(self, field, pathlib.Path(folder) / name)

    @property
    def recipe(self) -> str:
        """The name of the recipe's module, such as "recipes.translation", also if the module is run as a program."""
        module = type(self).__module__
        spec = getattr(sys.modules.get(module), "__spec__", None)
        name = spec.name if spec is not None else module.strip("_")
        return name.removeprefix("keras_seq.")  # as `keras-seq train` calls it

    def identity(self) -> dict[str, Any]:
        """The options that identify a run: all but those in `NOT_IDENTITY`."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in NOT_IDENTITY}


def preset(default: Any, help: str = "", **others: Any) -> Any:
    """A field whose default depends on the preset: `units: int | None = preset(32, "width", files=128)`.

    The field is None until its flag is given or `with_defaults` has been called. The help shows all of its defaults.

    Args:
        default: default for every preset that is not in `others`.
        help: help text.
        others: defaults by the name of the preset.
    """
    return option(None, help, presets={"": default, **others})


def with_defaults(options: T, *presets: str) -> T:
    """The options with the defaults of presets in place of None.

    Args:
        presets: names of presets. If a field has a default for several of them, the last one counts.
    """
    values = {}
    for field in dataclasses.fields(options):
        defaults = field.metadata.get("presets")
        if defaults and getattr(options, field.name) is None:
            names = [name for name in presets if name in defaults]
            values[field.name] = defaults[names[-1] if names else ""]
    return dataclasses.replace(options, **values)
