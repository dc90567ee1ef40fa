"""A task: a model with its preprocessing and postprocessing, from raw inputs to raw outputs."""

import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

import numpy as np

from keras_seq.models.functional import functional
from keras_seq.tasks.results import Failure
from keras_seq.tasks.signatures import Exported

if TYPE_CHECKING:
    from keras_seq.training import Run

TASK_FILE = "task.json"

One = TypeVar("One")
Many = TypeVar("Many", bound=Iterable)
Output = TypeVar("Output")
Result = TypeVar("Result")


class Array(Protocol):
    """What NumPy reads as an array: its own, a tensor, a DataFrame."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any: ...


class Task(Generic[One, Many, Output, Result]):
    """Base class of all tasks, the other classes of `keras_seq.tasks`.

        task = keras_seq.load("runs/translation")
        task("A man rides a horse.")                       # "Ein Mann reitet ein Pferd."
        task(["A man rides a horse.", "Two dogs run."])    # two strings
        task.details(["A man rides a horse."], num_return=5)

    Attributes:
        name: name of the kind, in `task.json`.
        verb: name of its signature in a SavedModel, and of its verb on the command line.
        rank: number of axes of an input that is an array (None for text).
        model: the Keras model. A `keras.Sequential` becomes a functional model with the same layers.
        folder, file: origin of a loaded task (None for a task made in Python).
        vocabulary, source_vocabulary, characters, features, labels, tags, scaler, columns, sampling_rate, module: of
            some kinds only.

    For type checkers, a kind of task is a `Task[One, Many, Output, Result]`: the types of one input, a sequence of
    inputs, one output, and what `details` has for it.
    """

    name: str
    verb: str
    rank: int | None = None

    # `load` gives any kind, so these are declared here.
    vocabulary: Any
    source_vocabulary: Any
    characters: Any
    features: Any
    labels: Any
    tags: Any
    scaler: Any
    columns: Any
    sampling_rate: Any
    module: Any

    def __init__(self, model: Any):
        self.model = functional(model)
        self.folder: pathlib.Path | None = None
        self.file: pathlib.Path | None = None
        self._predictors: dict[str, Callable[[Any], list]] = {}

    @overload  # of a search, an output may be a list of texts
    def __call__(self, inputs: Any, *, num_return: int, **options: Any) -> Any: ...
    @overload
    def __call__(self, inputs: One, **options: Any) -> Output: ...
    @overload
    def __call__(self, inputs: Many, **options: Any) -> list[Output]: ...

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Returns the output for one input, or a list of outputs for several.

        Args:
            inputs: one input or a sequence of inputs.
            options: options of `predictor`.
        Raises:
            ValueError: if an input has no output. `details` returns the others.
        """
        alone = self.is_one(inputs)
        several: Any = [inputs] if alone else inputs
        results = self.details(several, **options)
        failed = [(number, result.reason) for number, result in enumerate(results) if isinstance(result, Failure)]
        if failed:
            number, reason = failed[0]
            raise ValueError(
                f"{len(failed):,} of {len(results):,} inputs have no output, for example input {number}: {reason}. "
                "`details` returns the others."
            )
        outputs = [self.output(result) for result in results]
        return outputs[0] if alone else outputs

    def details(self, inputs: Many, **options: Any) -> list[Result]:
        """Returns a result for each input, in their order, or a `Failure` for an input without a result.

        Args:
            inputs: a sequence of inputs.
            options: options of `predictor`.
        """
        if self.is_one(inputs):
            raise TypeError(f"`details` takes a list of inputs. Received: {str(inputs)[:80]!r}")
        key = repr(sorted(options.items()))
        if key not in self._predictors:
            self._predictors[key] = self.predictor(**options)
        return self._predictors[key](list(inputs))

    def predictor(self, **options: Any) -> Callable[[Many], list[Result]]:
        """Returns a function from a list of inputs to a result or `Failure` for each, compiled once."""
        raise NotImplementedError

    def output(self, result: Any) -> Output:
        """The output of a call, taken from a result."""
        raise NotImplementedError

    def is_one(self, inputs: Any) -> bool:
        """Whether this is one input, rather than a sequence of inputs."""
        if isinstance(inputs, str | bytes | os.PathLike):
            return True
        return self.rank is not None and hasattr(inputs, "__array__") and np.ndim(inputs) == self.rank

    @property
    def where(self) -> str:
        """The name of the task in errors."""
        return str(self.file or type(self.model).__name__)

    # The content of an export.

    resources: Sequence[Any] = ()
    samples: Any = None

    def signatures(self) -> dict[str, Any]:
        """Name -> `Signature`. The first one is the default."""
        raise NotImplementedError

    def calls(self, functions: dict[str, Callable], samples: Any) -> Any:
        """The `Call`s by which two processes are compared."""
        raise NotImplementedError

    def function(self, name: str) -> Callable:
        """The function of tensors that has this name in an export, traced once."""
        return getattr(Exported(self.exported_model(), {name: self.signatures()[name]}, self.resources), name)

    def exported_model(self) -> Any:
        """The model that the signatures call."""
        return self.model

    # The content of a run folder.

    def save(self, run: "Run | str | os.PathLike[str]") -> None:
        """Writes the task into a run folder: `best.keras`, `vocabulary/` and `task.json`.

        Args:
            run: a `training.Run`, or a path.
        """
        from keras_seq.training import atomic_write

        path: Any = getattr(run, "path", run)
        folder = pathlib.Path(path)
        place = folder / "vocabulary"
        place.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / "best.keras") as temporary:
            self.model.save(temporary)
        self._save_parts(place)
        with atomic_write(folder / TASK_FILE) as temporary:
            content = {"task": self.name, **self.config()}
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def config(self) -> dict[str, Any]:
        """The options, in a form for JSON."""
        return {}

    def _save_parts(self, folder: pathlib.Path) -> None:
        """Writes the preprocessing and postprocessing into the folder `vocabulary/`."""


def save_vocabularies(folder: pathlib.Path, vocabularies: dict[str, Any]) -> None:
    """Writes vocabularies by name. If the folder has vocabularies already, those of the training, they stay."""
    from keras_seq import text

    if any(path.suffix in text.KINDS for path in folder.iterdir()):
        return
    for name, vocabulary in vocabularies.items():
        suffix = next(suffix for suffix, kind in text.KINDS.items() if type(vocabulary) is kind)
        vocabulary.save(folder / f"{name}{suffix}")
