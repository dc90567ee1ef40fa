"""The flags that every recipe has."""

import dataclasses
import os
import pathlib
import sys
from typing import Any, Literal, TypeVar

from keras_seq.cli import option

T = TypeVar("T", bound="Options")

# Two runs that differ in nothing else are the same run: it goes on.
NOT_IDENTITY = ("config", "run", "export", "overwrite", "download", "save_every", "strategy", "data_service")
NOT_IDENTITY += ("tensorboard",)


@dataclasses.dataclass(frozen=True)
class Options:
    """Flags of every recipe.

    A recipe's own options are a dataclass that inherits from this one. It declares again what it has another default
    or another help text for; `--help` shows its own flags first, and these after them.

    `run` and `export` are, where they are not given, `runs/NAME` and `saved_models/NAME`, NAME being that of the module
    which the recipe's dataclass is written in.
    """

    epochs: int = option(20, "at most")
    learning_rate: float = option(1e-3, "at its peak")
    schedule: Literal["linear", "cosine", "inverse_square_root"] = option("linear", "decay after the warm-up")
    warmup_steps: int = option(100, "updates to the peak; a quarter of all at most")
    patience: int = option(8, "epochs without a better validation score before training ends")
    average: int = option(3, "checkpoints averaged at the end, if that scores better in validation; 1: none")

    config: pathlib.Path | None = option(
        None, "config.json of a run, whose options to take; flags beside it override them", config=True
    )
    run: pathlib.Path | None = option(None, "run folder (default: runs/ and the recipe's name)")
    export: pathlib.Path | None = option(
        None, "folder of the SavedModel (default: saved_models/ and the recipe's name)"
    )
    overwrite: bool = option(False, "start anew in a run folder that holds another run")
    init_from: pathlib.Path | None = option(None, "run folder whose weights to begin with, whatever its vocabulary")
    save_every: int | None = option(None, "checkpoint inside an epoch too, after so many updates")
    tensorboard: bool = option(False, "event files for TensorBoard, in the run folder")
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker_mirrored", "tpu"] = option(
        "auto", "devices and workers to train on; docs/distribution.md"
    )
    data_service: str | None = option(
        os.environ.get("KERAS_SEQ_DATA_SERVICE"),
        "tf.data service that makes the batches; docs/distribution.md",
    )
    precision: Literal["float32", "bfloat16", "float16"] = option("float32", "of the layers' arithmetic")
    seed: int = option(1, "of the data order and the weights")
    deterministic: bool = option(False, "same seed, same weights, to the bit (slower)")

    def __post_init__(self):
        name = self.recipe.rpartition(".")[2]
        for field, folder in (("run", "runs"), ("export", "saved_models")):
            if getattr(self, field) is None:
                object.__setattr__(self, field, pathlib.Path(folder) / name)

    @property
    def recipe(self) -> str:
        """The name of the recipe's module, also where that module is the program: "recipes.translation"."""
        module = type(self).__module__
        spec = getattr(sys.modules.get(module), "__spec__", None)
        name = spec.name if spec is not None else module.strip("_")
        return name.removeprefix("keras_seq.")  # as `keras-seq train` calls it

    def identity(self) -> dict[str, Any]:
        """The options that make two runs the same run: all but where it runs and where the results go."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in NOT_IDENTITY}


def preset(default: Any, help: str = "", **others: Any) -> Any:
    """A field whose default depends on the preset: `units: int | None = preset(32, "width", files=128)`.

    The field is None until its flag is given or `with_defaults` has been called. The help shows all of its defaults.

    Args:
        default: for every preset that is not in `others`.
        others: by the name of the preset.
    """
    return option(None, help, presets={"": default, **others})


def with_defaults(options: T, *presets: str) -> T:
    """The options with the defaults of presets in place of None.

    Args:
        presets: names. Where a field has a default for several of them, the last one counts.
    """
    values = {}
    for field in dataclasses.fields(options):
        defaults = field.metadata.get("presets")
        if defaults and getattr(options, field.name) is None:
            names = [name for name in presets if name in defaults]
            values[field.name] = defaults[names[-1] if names else ""]
    return dataclasses.replace(options, **values)
