"""A task from a SavedModel: its signatures, with the same inputs and outputs as the exported task."""

import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from keras_seq.tasks.batching import Limits, texts_in_batches
from keras_seq.tasks.classification import classifying, labels_of
from keras_seq.tasks.decoding_task import texts_of
from keras_seq.tasks.forecasting import forecasting
from keras_seq.tasks.results import generated
from keras_seq.tasks.run_folder import refused
from keras_seq.tasks.signatures import definitions, inputs_of
from keras_seq.tasks.tagging import tagging
from keras_seq.tasks.task import Task
from keras_seq.tasks.tensors import serving
from keras_seq.tasks.transcription import RATE, transcribing

# By verb: the kind of task, and the required outputs of its signature.
KINDS = {
    "translate": ("translation", {"text", "score", "log_prob", "finished"}),
    "generate": ("generation", {"text", "whole", "score", "log_prob", "finished"}),
    "classify": ("classification", set()),
    "tag": ("tagging", {"words", "tags"}),
    "transcribe": ("transcription", {"text", "score", "log_prob"}),
    "forecast": ("forecasting", {"forecast"}),
    "serve": ("tensors", set()),
}


class SavedModelTask(Task[Any, Any, Any, Any]):
    """A task whose model is a SavedModel written by `export.saved_model`.

    Attributes:
        signatures_by_name: functions of tensors.
        module: the loaded module. It also has the functions, with their default values.

    Raises:
        ValueError: if the folder is damaged, or has no signature of a task.
    """

    def __init__(self, folder: pathlib.Path):
        super().__init__(None)
        self.folder = self.file = folder
        self.module = load_module(folder)
        self.signatures_by_name = dict(self.module.signatures)
        verb = next((verb for verb in KINDS if self._has(verb)), None)
        if verb is None:
            raise ValueError(
                f"{folder} has no signature of a task, as export.saved_model writes it ({', '.join(KINDS)}). It has: "
                f"{', '.join(sorted(self.signatures_by_name)) or 'none'}. keras-seq inspect shows more."
            )
        self.name, self.verb = KINDS[verb][0], verb
        specs = inputs_of(self.signatures_by_name[self.verb])
        numbers = [spec for spec in specs.values() if spec.dtype.name != "string"]
        self.rank = len(numbers[0].shape) - 1 if len(numbers) == len(specs) == 1 else None

    def _has(self, verb: str) -> bool:
        function = self.signatures_by_name.get(verb)
        return function is not None and KINDS[verb][1] <= set(function.structured_outputs)

    @property
    def sampling_rate(self) -> int | None:
        """Sampling rate of a recognizer in samples per second, if the SavedModel has it."""
        described = self._described()
        return int(described["sampling_rate"]) if "sampling_rate" in described else None

    @property
    def columns(self) -> Any:
        """The `data.ForecastColumns` of a forecaster."""
        from keras_seq import data

        told = {name: x.numpy().tolist() for name, x in self._described().items()}
        if "look_back" not in told:
            raise ValueError(
                f"{self.folder} lacks the signatures `forecast` and `describe`, which tasks.Forecasting with a "
                f"look-back writes. It has: {', '.join(sorted(self.signatures_by_name))}. keras-seq inspect shows more."
            )
        names = {name: tuple(text.decode() for text in told[name]) for name in ("columns", "targets")}
        quantiles = tuple(float(f"{quantile:.6g}") for quantile in told["quantiles"])
        sizes = {name: told[name] for name in ("look_back", "horizon")}
        return data.ForecastColumns(**names, **sizes, quantiles=quantiles)

    def _described(self) -> dict[str, Any]:
        describe = self.signatures_by_name.get("describe")
        return {} if describe is None else describe()

    def is_one(self, inputs: Any) -> bool:
        if self.name == "forecasting" and (hasattr(inputs, "columns") or hasattr(inputs, "runs")):
            return True
        return super().is_one(inputs) or (self.name == "tensors" and isinstance(inputs, dict))

    def output(self, result: Any) -> Any:
        """The output of the exported task."""
        if self.verb in ("translate", "generate"):
            return texts_of(result)
        if self.verb == "classify":
            return labels_of(result)
        if self.verb == "serve":
            return result.arrays["outputs"] if set(result.arrays) == {"outputs"} else result.arrays
        return getattr(result, {"tag": "tags", "transcribe": "text", "forecast": "values"}[self.verb])

    def predictor(self, **options: Any) -> Callable[[Sequence], list]:
        """Returns a function from inputs to a result or `Failure` for each.

        Args:
            options: options of the exported task. Of its search, only those that are inputs of the SavedModel.
        """
        function = self.signatures_by_name[self.verb]
        if self.verb in ("translate", "generate"):
            return self._searching(**options)
        if self.verb == "classify":
            return classifying(function, Limits(**options))
        if self.verb == "tag":
            return tagging(self._signature("tag_words"), Limits(**options))
        if self.verb == "transcribe":
            seconds = {name: options.pop(name) for name in ("batch_seconds", "max_seconds") if name in options}
            rate = options.pop("sampling_rate", None) or self.sampling_rate or RATE
            self._refuse(options, ())
            return transcribing(function, rate, **seconds)
        return forecasting(function, self.columns) if self.verb == "forecast" else serving(function)

    def _signature(self, name: str) -> Callable:
        if name not in self.signatures_by_name:
            raise ValueError(
                f"{self.folder} has no signature `{name}`, as export.saved_model writes it. It has: "
                f"{', '.join(sorted(self.signatures_by_name))}. Export it again."
            )
        return self.signatures_by_name[name]

    def _searching(
        self,
        batch_tokens=2048,
        max_source_length=1000,
        width_ratio=1.0,
        replace_unknown=False,
        side_inputs=(),
        first=None,
        echo=True,
        **options,
    ) -> Callable[[Sequence], list]:
        if replace_unknown is not False:
            raise ValueError(
                f"`replace_unknown`: {self.folder} is a SavedModel, which does not return its attention. Leave it out, "
                "or give the run folder."
            )
        if first is not None:
            raise ValueError(f"`first`: {self.folder} is a SavedModel, with a fixed first token. Leave it out.")
        inputs = self._options({**options, **dict.fromkeys(side_inputs)})
        goes_on = self.verb == "generate" and echo
        names = ("whole" if goes_on else "text", "score", "log_prob", "finished")

        def compute(texts):
            if inputs:  # by the function of the module: unlike the signature, it has default values
                results = getattr(self.module, f"{self.verb}_with_options")(texts, **inputs)
            else:
                results = self.signatures_by_name[self.verb](text=texts)
            columns = [results[name].numpy().reshape(len(texts), -1) for name in names]
            prompts = texts.numpy().tolist() if goes_on else [b""] * len(texts)
            wholes = zip(prompts, columns[0].tolist(), strict=True)
            columns[0] = [[whole[len(prompt) :] for whole in row] for prompt, row in wholes]
            rows = zip(*columns, prompts, strict=True)
            return [generated(*row, prompt.decode()) for *row, prompt in rows]

        return texts_in_batches(Limits(batch_tokens, max_source_length, width_ratio), compute)

    def _refuse(self, options: dict[str, Any], takes: Sequence[str]) -> None:
        if options:
            names = ", ".join(f"`{name}`" for name in options)
            takes = f"It takes {', '.join(f'`{name}`' for name in sorted(takes))}. Leave the others" if takes else ""
            raise ValueError(
                f"{names}: {self.folder} is a SavedModel with a fixed search. "
                f"{takes or 'Leave the options of the search'} out, or give the run folder."
            )

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of the search, as inputs of the signature with options."""
        import tensorflow as tf

        name = f"{self.verb}_with_options"
        specs, defaults = {}, set()
        if name in self.signatures_by_name and hasattr(self.module, name):
            specs = self.signatures_by_name[name].structured_input_signature[1]
            defaults = set(definitions(self.folder)[name].defaults)
        takes = [other for other in specs if other != "text"]
        self._refuse({option: value for option, value in options.items() if option not in specs}, takes)
        needed = sorted(set(specs) - {"text"} - defaults - set(options)) if options else []
        if needed:
            given, needed = (", ".join(f"`{other}`" for other in names) for names in (options, needed))
            raise ValueError(f"{given}: with it, {self.folder} also needs {needed}.")
        return {option: tf.constant(value, specs[option].dtype) for option, value in options.items()}

    def save(self, run: Any) -> None:
        raise ValueError(f"{self.folder} is a SavedModel, which has no weights to train on. Save the task of the run.")


def load_module(folder: pathlib.Path) -> Any:
    """Loads the SavedModel in a folder, after a check of its files.

    Raises:
        ValueError: if it is damaged. Names the folder and the remedy.
    """
    import tensorflow as tf
    import tensorflow_text  # noqa: F401, its operations may be in the graph

    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)  # hides the warning that it was exported without gradients
    try:
        with refused(folder, "is damaged, or not a SavedModel", "Copy the folder again, or export it again"):
            _check_files(folder)
            return tf.saved_model.load(str(folder))
    finally:
        logger.setLevel(level)


def _check_files(folder: pathlib.Path) -> None:
    """Compares the graph and the index of the weights with TensorFlow's fingerprint. The weights have separate
    checksums. TensorFlow itself does not check, and loads any graph that can be parsed."""
    from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
    from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

    for path in sorted(folder.rglob("*")):
        if not (path.is_file() or path.is_dir()):  # reading a pipe would block
            raise ValueError(f"{path.relative_to(folder)} is not a file")
    if not (folder / "fingerprint.pb").is_file():  # TensorFlow before 2.11 wrote none
        return
    if not SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs:
        raise ValueError("saved_model.pb holds no graph")  # a fingerprint of it would end the process (TF 2.21)
    noted = FingerprintDef.FromString((folder / "fingerprint.pb").read_bytes())
    found = FingerprintDef.FromString(fingerprinting.CreateFingerprintDef(str(folder)))
    for name, file in (("saved_model_checksum", "saved_model.pb"), ("checkpoint_hash", "variables/variables.index")):
        if getattr(noted, name) != getattr(found, name):
            raise ValueError(f"{file} does not match fingerprint.pb")
