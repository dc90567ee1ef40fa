"""What `--model` names: a run folder, or a SavedModel."""

import contextlib
import logging
import math
import pathlib
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from keras_seq.commands.streams import one_line

HELP = "run folder (best.keras, vocabulary/), another .keras file in it, or a SavedModel"
WEIGHTS = "run folder (best.keras, vocabulary/), or another .keras file in it"
SEVERAL = "given again for each further run folder, whose models then decode together"
SHARES = "how much a --model counts in the mean, given once for each, in their order (default: all the same)"
_RUN_PARTS = ("config.json", "history.csv", "checkpoints", "vocabulary")
_EXPANSION = 100  # times its size that a file may unpack to; Keras packs nothing
_MAKE_AGAIN = "Copy the file anew, or make it again: keras-seq average does that from the run's checkpoints"


class Trained:
    """A model with its weights and its vocabularies, from a run folder.

    Attributes:
        folder, file: the run folder, and the `.keras` file in it.
        model: not compiled.
        vocabulary: of what the model says.
        source_vocabulary: of what it reads; the same object where it is the same vocabulary.
        vocabulary_files: where they are from, the source's first.
    """

    def __init__(self, folder: pathlib.Path, file: pathlib.Path):
        self.folder, self.file = folder, file
        self.model = load_keras(file)
        self.vocabulary_files = _vocabulary_files(folder, self.is_language_model)
        self.source_vocabulary, self.vocabulary = _vocabularies(*self.vocabulary_files)
        _check_sizes(self)

    @property
    def is_language_model(self) -> bool:
        return not hasattr(self.model, "encode")


class Together(Trained):
    """The models of several run folders as one; folder, file and vocabularies are the first's.

    Raises:
        ValueError: for models of both kinds, or vocabularies that differ.
    """

    def __init__(self, members: Sequence[Trained], weights: Sequence[float]):
        from keras_seq.decoding import Ensemble

        first = members[0]
        for member in members[1:]:
            _check_alike(first, member)
        self.folder, self.file, self.vocabulary_files = first.folder, first.file, first.vocabulary_files
        self.model = Ensemble([member.model for member in members], weights or None)
        self.source_vocabulary, self.vocabulary = first.source_vocabulary, first.vocabulary


class Classifier:
    """A model from texts to classes, from a run folder.

    Attributes:
        folder, file: the run folder, and the `.keras` file in it.
        model: not compiled.
        vocabulary: of the texts.
        labels: the names of the classes.
    """

    def __init__(self, folder: pathlib.Path, file: pathlib.Path):
        self.folder, self.file = folder, file
        self.labels = load_labels(labels_file(folder))
        self.model = load_keras(file, decodes=False)
        self.vocabulary = load_vocabulary(_vocabulary_files(folder, True)[1])
        _check_classes(self)


class Forecaster:
    """A model from the past of series to their future, from a run folder.

    Attributes:
        folder, file: the run folder, and the `.keras` file in it.
        model: not compiled.
        columns: a `data.ForecastColumns`, what it reads and says.
        scaler: of what it reads.
    """

    def __init__(self, folder: pathlib.Path, file: pathlib.Path):
        from keras_seq import data

        self.folder, self.file = folder, file
        self.columns = _of_a_forecaster(columns_file(folder), data.ForecastColumns.load)
        self.scaler = _of_a_forecaster(columns_file(folder).with_name("scaler.json"), data.Scaler.load)
        self.model = load_keras(file, decodes=False)
        _check_columns(self)

    def task(self) -> Any:
        """What it is exported for."""
        from keras_seq.export import Forecasting

        columns = self.columns
        return Forecasting(
            self.scaler, self.scaler.of(columns.targets), look_back=columns.look_back, quantiles=columns.quantiles
        )


class Recognizer:
    """A model from recordings to texts, from a run folder.

    Attributes:
        folder, file: the run folder, and the `.keras` file in it.
        model: not compiled; with CTC, or with `encode` and `decode` and a front end.
        vocabulary: of the texts.
        sample_rate: samples a second of what the model hears.
    """

    def __init__(self, folder: pathlib.Path, file: pathlib.Path):
        self.folder, self.file = folder, file
        self.model = load_keras(file, decodes=False)
        layers = [layer for layer in self.model._flatten_layers() if hasattr(layer, "sampling_rate")]
        if not layers or not (hasattr(self.model, "encode") or len(self.model.output.shape) == 3):
            raise ValueError(
                f"{file} is a {type(self.model).__name__} that writes down no sound: it has no `LogMel` layer, or "
                "gives no labels of frames. keras-seq transcribe takes models as recipes.speech trains them for "
                "strings; give another run folder."
            )
        self.sample_rate = layers[0].sampling_rate
        self.vocabulary = load_vocabulary(_vocabulary_files(folder, True)[1])
        _check_labels(self)


class Served:
    """A SavedModel: `signatures` are functions of tensors, by name; `module` has them too, where keras_seq wrote it."""

    def __init__(self, folder: pathlib.Path):
        import tensorflow as tf
        import tensorflow_text  # noqa: F401, its operations may be in the graph

        self.folder = folder
        logger = logging.getLogger("absl")
        level = logger.level
        logger.setLevel(logging.ERROR)  # that it was exported without gradients is no news
        try:
            with _refused(folder, "is damaged, or no SavedModel", "Copy the folder anew, or export it again"):
                _check_files(folder)
                self.module = tf.saved_model.load(str(folder))
                self.signatures = dict(self.module.signatures)
        finally:
            logger.setLevel(level)


def _check_files(folder: pathlib.Path) -> None:
    """Compares with what TensorFlow has noted of the graph and of the index of the weights, which have their own
    checksums. It does not look itself, and loads whatever graph can be parsed."""
    from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef
    from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

    for path in sorted(folder.rglob("*")):
        if not (path.is_file() or path.is_dir()):  # a pipe would be waited for
            raise ValueError(f"{path.relative_to(folder)} is no file")
    if not (folder / "fingerprint.pb").is_file():  # none was written before TensorFlow 2.11
        return
    noted = FingerprintDef.FromString((folder / "fingerprint.pb").read_bytes())
    found = FingerprintDef.FromString(fingerprinting.CreateFingerprintDef(str(folder)))
    for name, file in (("saved_model_checksum", "saved_model.pb"), ("checkpoint_hash", "variables/variables.index")):
        if getattr(noted, name) != getattr(found, name):
            raise ValueError(f"{file} and fingerprint.pb do not belong together")


def open_model(path: pathlib.Path) -> Trained | Served:
    """Opens what is there.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is neither, or damaged; names the file and the remedy.
    """
    if is_saved_model(path):
        return Served(path)
    return Trained(*run_files(path))


def open_weights(path: pathlib.Path, verb: str) -> Trained:
    """Opens a run folder, for a verb that needs more than a SavedModel has."""
    _refuse_saved_model(path, verb)
    return Trained(*run_files(path))


def open_run(path: pathlib.Path, verb: str) -> Any:
    """Opens a run folder of any kind; what has names of classes is a `Classifier`, what has names of tags a `Tagger`,
    what has columns a `Forecaster`, anything else `Trained`."""
    from keras_seq.commands.taggers import Tagger, tags_file

    _refuse_saved_model(path, verb)
    folder, file = run_files(path)
    if columns_file(folder).exists():
        return Forecaster(folder, file)
    if tags_file(folder).exists():
        return Tagger(folder, file)
    return (Classifier if labels_file(folder).exists() else Trained)(folder, file)


def open_classifier(path: pathlib.Path) -> Classifier | Served:
    """Opens what is there, for classes of texts."""
    return Served(path) if is_saved_model(path) else Classifier(*run_files(path))


def open_forecaster(path: pathlib.Path) -> Forecaster | Served:
    """Opens what is there, for the future of series."""
    return Served(path) if is_saved_model(path) else Forecaster(*run_files(path))


def open_recognizer(path: pathlib.Path) -> Recognizer | Served:
    """Opens what is there, for texts of recordings."""
    return Served(path) if is_saved_model(path) else Recognizer(*run_files(path))


def _refuse_saved_model(path: pathlib.Path, verb: str) -> None:
    if is_saved_model(path):
        raise ValueError(
            f"{path} is a SavedModel, and keras-seq {verb} needs the weights and the vocabulary that lie in a run "
            "folder. Give the run folder that it was exported from."
        )


def open_models(paths: Sequence[pathlib.Path], weights: Sequence[float] = (), verb: str | None = None) -> Any:
    """Opens what there is at one path, or the run folders at several, whose models then decode as one.

    Args:
        weights: of the models, or none.
        verb: of a verb that needs more than a SavedModel has; None: one SavedModel will do.
    Returns:
        `Trained`, or `Served`.
    Raises:
        FileNotFoundError, ValueError: as `open_model`; and for weights that are not one positive number for each path.
    """
    if weights and (len(weights) != len(paths) or not all(0 < weight < math.inf for weight in weights)):
        told = " ".join(f"{weight:g}" for weight in weights)
        raise ValueError(
            f"--model-weight must be a positive number, given for each of {len(paths)} --model or for none. "
            f"Received: {told}"
        )
    if len(paths) == 1:
        return open_weights(paths[0], verb) if verb else open_model(paths[0])
    return Together([open_weights(path, verb or "with more than one --model") for path in paths], weights)


def is_saved_model(path: pathlib.Path) -> bool:
    return (path / "saved_model.pb").is_file()


def run_files(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The run folder and its `.keras` file."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. --model takes a {HELP}.")
    if path.is_file():
        if path.suffix == ".keras":
            return path.parent, path
        raise ValueError(f"{path} is a file. --model takes a {HELP}.")
    best = path / "best.keras"
    if best.is_file():
        return path, best
    there = sorted(entry.name for entry in path.iterdir())
    if any(name in there for name in _RUN_PARTS):
        raise FileNotFoundError(
            f"{best} does not exist, though {path} is a run folder. It is written after the first epoch: train on, or "
            "give another folder."
        )
    held = ", ".join(there[:3]) + ("..." if len(there) > 3 else "") if there else "nothing"
    raise ValueError(
        f"{path} has neither best.keras, as a run folder, nor saved_model.pb, as a SavedModel. It has: {held}. "
        "Give another folder."
    )


def load_keras(file: pathlib.Path, decodes: bool = True) -> Any:
    """The model in a `.keras` file. No code that the file may hold is run.

    Args:
        decodes: whether it must be able to.
    Raises:
        ValueError: if it is damaged, or holds what Keras refuses.
    """
    import keras

    import keras_seq.decoding
    import keras_seq.models  # noqa: F401, both register classes

    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is damaged: it was cut short, or is no Keras model. {_MAKE_AGAIN}.")
    with _refused(file, "is damaged", _MAKE_AGAIN), zipfile.ZipFile(file) as archive:
        declared, there = sum(part.file_size for part in archive.infolist()), file.stat().st_size
        if declared > _EXPANSION * there:
            raise ValueError(f"it would unpack to {declared:,} bytes, and has {there:,}")
        broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"the checksum of {broken} in it is wrong")
    with _refused(file, "could not be loaded", _MAKE_AGAIN):
        try:
            model = keras.models.load_model(file, compile=False)  # safe_mode is on by default
        except Exception as error:
            if "safe_mode" in str(error) or "Lambda" in str(error):
                raise ValueError(
                    "it holds Python code (a Lambda layer or a lambda), which is not run. Write that layer as a "
                    "registered class"
                ) from error
            raise
    if decodes and not callable(getattr(model, "decode", None)):
        raise ValueError(
            f"{file} is a {type(model).__name__}, which does not decode: it has no `decode`, as Seq2Seq, Transformer "
            "and LanguageModel have. keras-seq classify takes classifiers of text, keras-seq tag taggers, keras-seq "
            "forecast forecasters of series; use another model in Python."
        )
    return model


def vocabulary_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """By name, "joint" say."""
    from keras_seq import text

    place = folder / "vocabulary"
    files = sorted(place.iterdir()) if place.is_dir() else []
    found: dict[str, pathlib.Path] = {}
    for file in files:
        if file.suffix not in text.KINDS or file.name.startswith(".") or not file.is_file():
            continue
        if file.stem in found:
            raise ValueError(f"{place} holds {found[file.stem].name} and {file.name}. Move one of them away.")
        found[file.stem] = file
    return found


def labels_file(folder: pathlib.Path) -> pathlib.Path:
    """Where the names of a run's classes are, if it has classes."""
    return folder / "vocabulary" / "labels.txt"


def columns_file(folder: pathlib.Path) -> pathlib.Path:
    """Where a run tells which columns it forecasts, if it does; beside it lies their scaler."""
    return folder / "vocabulary" / "forecast.json"


def load_labels(file: pathlib.Path) -> list[str]:
    from keras_seq import text

    if not file.exists():
        raise FileNotFoundError(
            f"{file} does not exist: the run has no classes of texts, or the file was not copied with it. It has their "
            "names, one a line."
        )
    with damaged(file):
        return text.load_labels(file)


def damaged(file: pathlib.Path) -> contextlib.AbstractContextManager[None]:
    """Names a file that lies beside the model, and what to do, when it cannot be read."""
    return _refused(file, "is damaged", "Copy it anew from the folder that the model was trained in")


def load_vocabulary(file: pathlib.Path) -> Any:
    from keras_seq import text

    with _refused(file, "is no vocabulary", "Copy it anew from the folder that the model was trained in"):
        return text.load(file)


def _vocabulary_files(folder: pathlib.Path, is_language_model: bool) -> tuple[pathlib.Path, pathlib.Path]:
    """Of the source and of the target; the same file twice where there is one vocabulary."""
    found = vocabulary_files(folder)
    if "joint" in found or (is_language_model and len(found) == 1):
        joint = found.get("joint") or next(iter(found.values()))
        return joint, joint
    if {"source", "target"} <= set(found) and not is_language_model:
        return found["source"], found["target"]
    needed = "one file" if is_language_model else "joint.*, or source.* and target.*,"
    raise FileNotFoundError(
        f"{folder / 'vocabulary'} must hold {needed} ending in .spm, .words, .characters or .bytes. "
        f"It has: {', '.join(file.name for file in found.values()) or 'none'}. "
        "Copy the vocabulary from the folder that the model was trained in."
    )


def _vocabularies(source: pathlib.Path, target: pathlib.Path) -> tuple[Any, Any]:
    vocabulary = load_vocabulary(target)
    return (vocabulary if source == target else load_vocabulary(source)), vocabulary


def _check_alike(one: Trained, other: Trained) -> None:
    """Whether two models read and say the same tokens."""
    if one.is_language_model != other.is_language_model:
        language_model, translator = (one, other) if one.is_language_model else (other, one)
        raise ValueError(
            f"{language_model.file} is a language model, and {translator.file} translates. Models that decode together "
            "must be of one kind."
        )
    sides = zip(one.vocabulary_files, other.vocabulary_files, strict=True)
    vocabularies = [(x.source_vocabulary, x.vocabulary) for x in (one, other)]
    for files, (ours, theirs) in zip(sides, zip(*vocabularies, strict=True), strict=True):
        if files[0].read_bytes() != files[1].read_bytes():
            raise ValueError(
                f"{files[0]} and {files[1]} differ: {_difference(ours, theirs)}. Models that decode together must have "
                "been trained with the same vocabularies."
            )


def _difference(ours: Any, theirs: Any) -> str:
    if type(ours) is not type(theirs):
        return f"one is of {type(ours).__name__}, the other of {type(theirs).__name__}"
    if ours.size != theirs.size:
        return f"{ours.size:,} tokens and {theirs.size:,}"
    pairs = zip(ours.pieces(range(ours.size)), theirs.pieces(range(theirs.size)), strict=True)
    for number, (one, other) in enumerate(pairs):
        if one != other:
            return f"token {number} is {one!r} in one and {other!r} in the other"
    return "the same tokens, but texts are not split alike"


def _check_sizes(opened: Trained) -> None:
    model = opened.model
    source = getattr(model, "source_vocabulary_size", None)
    target = getattr(model, "target_vocabulary_size", None) or source or getattr(model, "vocabulary_size", None)
    for side, vocabulary, size in (
        ("source", opened.source_vocabulary, source),
        ("target", opened.vocabulary, target),
    ):
        if size is not None and vocabulary.size != size:
            raise ValueError(
                f"{opened.folder / 'vocabulary'}: the {side} vocabulary has {vocabulary.size:,} tokens, and "
                f"{opened.file.name} was trained with {size:,}. One of the two was cut short, or is of another run: "
                "copy them anew."
            )


def _check_classes(opened: Classifier) -> None:
    shape = getattr(getattr(opened.model, "output", None), "shape", ())
    if len(shape) != 2 or shape[1] != len(opened.labels):
        raise ValueError(
            f"{opened.file} gives {tuple(shape)}, and {labels_file(opened.folder)} names {len(opened.labels)} classes. "
            "A classifier gives one number for each of them: one of the two files is of another run."
        )
    sizes = {layer.input_dim for layer in opened.model._flatten_layers() if hasattr(layer, "input_dim")}
    if sizes and opened.vocabulary.size not in sizes:
        raise ValueError(
            f"{opened.folder / 'vocabulary'}: the vocabulary has {opened.vocabulary.size:,} tokens, and "
            f"{opened.file.name} was trained with {' or '.join(f'{size:,}' for size in sorted(sizes))}. One of the two "
            "was cut short, or is of another run: copy them anew."
        )


def _of_a_forecaster(file: pathlib.Path, load: Any) -> Any:
    if not file.exists():
        raise FileNotFoundError(
            f"{file} does not exist: the run has no forecaster of series, or the file was not copied with it."
        )
    with damaged(file):
        return load(file)


def _check_columns(opened: Forecaster) -> None:
    columns, inputs = opened.columns, getattr(opened.model, "inputs", None) or [None]
    quantiles = [len(columns.quantiles)] if columns.quantiles else []
    expected = (columns.horizon, len(columns.targets), *quantiles)
    given, reads = (tuple(getattr(x, "shape", ())) for x in (getattr(opened.model, "output", None), inputs[0]))
    width = len(columns.columns)
    if len(inputs) > 1 or given[1:] != expected or reads[2:] != (width,) or len(opened.scaler.columns) != width:
        raise ValueError(
            f"{opened.file} makes {given} of {reads}, and the files in {opened.folder / 'vocabulary'} tell of "
            f"{expected} of {width} columns. One of them is of another run, or the model reads more than the past: "
            "use that one in Python."
        )


def _check_labels(opened: Recognizer) -> None:
    model = opened.model
    size = model.target_vocabulary_size if hasattr(model, "encode") else model.output.shape[2]
    if opened.vocabulary.size != size:
        raise ValueError(
            f"{opened.folder / 'vocabulary'}: the vocabulary has {opened.vocabulary.size:,} tokens, and "
            f"{opened.file.name} was trained with {size:,}. One of the two was cut short, or is of another run: copy "
            "them anew."
        )


@contextlib.contextmanager
def _refused(path: pathlib.Path, what: str, remedy: str) -> Iterator[None]:
    """Names the file and the remedy, whatever a library says of it."""
    try:
        yield
    except Exception as error:  # of many kinds: TensorFlow, Keras, HDF5, protobuf and SentencePiece have their own
        told = one_line(error).removeprefix(f"{path}: ").rstrip(".")
        raise ValueError(f"{path} {what}: {told}. {remedy}.") from error
