"""The files of a run folder: loading of a model and its vocabularies."""

import contextlib
import pathlib
import zipfile
from collections.abc import Callable, Collection, Iterator
from typing import Any

from keras_seq.tasks.results import one_line

_PLACES = "run folder (best.keras, vocabulary/), another .keras file in it, or a SavedModel"
_RUN_PARTS = ("config.json", "history.csv", "checkpoints", "vocabulary")
_EXPANSION = 100  # limit of the unpacked size of a file, times its size. Keras does not compress
_MAKE_AGAIN = "Copy the file again, or rebuild it from the run's checkpoints with keras-seq average"


def is_saved_model(path: pathlib.Path) -> bool:
    return (path / "saved_model.pb").is_file()


def run_files(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """The run folder and its `.keras` file."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist. A model is in a {_PLACES}.")
    if path.is_file():
        if path.suffix == ".keras":
            return path.parent, path
        raise ValueError(f"{path} is a file. A model is in a {_PLACES}.")
    best = path / "best.keras"
    if best.is_file():
        return path, best
    within = sorted(file.parent for file in path.glob("*/best.keras"))
    if within:
        named = ", ".join(folder.name for folder in within[:3]) + ("..." if len(within) > 3 else "")
        raise FileNotFoundError(
            f"{best} does not exist, but there are run folders in {path}: {named}. Give one of them: {within[0]}"
        )
    there = sorted(entry.name for entry in path.iterdir())
    if "model.bin" in there:
        raise ValueError(
            f"{path} is a folder of CTranslate2, for `keras-seq serve` and for CTranslate2 itself. Give the run folder "
            "it was exported from, or a SavedModel."
        )
    if any(name in there for name in _RUN_PARTS):
        raise FileNotFoundError(
            f"{best} does not exist, though {path} is a run folder. It is written after the first epoch. Continue the "
            "training, or give another folder."
        )
    held = ", ".join(there[:3]) + ("..." if len(there) > 3 else "") if there else "nothing"
    raise ValueError(
        f"{path} has neither best.keras, as a run folder has, nor saved_model.pb, as a SavedModel has. It has: {held}. "
        "Give another folder."
    )


def load_keras(file: pathlib.Path) -> Any:
    """Loads the model in a `.keras` file, a `keras.Sequential` as a functional model. Code in the file is not run.

    Raises:
        ValueError: if the file is damaged, or Keras refuses its content.
    """
    import keras

    import keras_seq.decoding
    import keras_seq.models  # noqa: F401, both register classes
    from keras_seq.models.functional import functional

    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is damaged: it was cut short, or is not a Keras model. {_MAKE_AGAIN}.")
    with refused(file, "is damaged", _MAKE_AGAIN), zipfile.ZipFile(file) as archive:
        declared, there = sum(part.file_size for part in archive.infolist()), file.stat().st_size
        if declared > _EXPANSION * there:
            raise ValueError(f"it has {there:,} bytes, but would unpack to {declared:,}")
        broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"the checksum of {broken} in it is wrong")
    with refused(file, "could not be loaded", _MAKE_AGAIN):
        try:
            model = keras.models.load_model(file, compile=False)  # safe_mode is on by default
        except Exception as error:
            if "safe_mode" in str(error) or "Lambda" in str(error):
                raise ValueError(
                    "it has Python code (a Lambda layer or a lambda), which is not run. Write that layer as a "
                    "registered class"
                ) from error
            raise
    if not isinstance(model, keras.Model):
        raise ValueError(f"{file} holds a {type(model).__name__}, which is not a Keras model. {_MAKE_AGAIN}.")
    return functional(model)


def check_decodes(model: Any, file: pathlib.Path) -> None:
    """Raises `ValueError` for a model without a search. Names the verbs for other models."""
    if not callable(getattr(model, "decode", None)):
        raise ValueError(
            f"{file} is a {type(model).__name__}, which does not decode: it has no `decode`, unlike Seq2Seq, "
            "Transformer and LanguageModel. Use keras-seq classify for classifiers of text, keras-seq tag for taggers, "
            "keras-seq transcribe for speech recognizers, keras-seq forecast for forecasters, and Python for others."
        )


def vocabulary_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """The vocabulary files of a run by name, such as "joint"."""
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


def vocabulary_sides(folder: pathlib.Path, *, single: bool) -> tuple[pathlib.Path, pathlib.Path]:
    """The files of the source and the target vocabulary: the same file twice for a joint vocabulary.

    Args:
        single: whether the model has one side only. A file of any name is accepted then.
    """
    found = vocabulary_files(folder)
    if "joint" in found or (single and len(found) == 1):
        joint = found.get("joint") or next(iter(found.values()))
        return joint, joint
    if {"source", "target"} <= set(found) and not single:
        return found["source"], found["target"]
    needed = "one file" if single else "joint.*, or source.* and target.*,"
    raise FileNotFoundError(
        f"{folder / 'vocabulary'} must hold {needed} ending in .spm, .words, .characters or .bytes. "
        f"It has: {', '.join(file.name for file in found.values()) or 'none'}. "
        "Copy the vocabulary from the folder that the model was trained in."
    )


def load_single_vocabulary(folder: pathlib.Path) -> Any:
    """The vocabulary of a model that either reads or generates text."""
    return load_vocabulary(vocabulary_sides(folder, single=True)[1])


def load_vocabulary(file: pathlib.Path) -> Any:
    from keras_seq import text

    with refused(file, "is not a vocabulary", "Copy it again from the folder that the model was trained in"):
        return text.load(file)


def input_sizes(model: Any) -> set[int]:
    """The sizes of the vocabularies whose tokens a model embeds."""
    return {layer.input_dim for layer in model._flatten_layers() if hasattr(layer, "input_dim")}


def reads_tokens(model: Any) -> bool:
    """Whether a model takes ids, rather than audio or images."""
    inputs = getattr(model, "inputs", None) or []
    return bool(input_sizes(model)) or any("int" in x.dtype and len(x.shape) == 2 for x in inputs)


def check_vocabulary(
    opened: Any, vocabulary: Any, sizes: Collection[int], *, name: str = "the vocabulary", between: str = " or "
) -> None:
    """Compares the size of a vocabulary with its model.

    Args:
        opened: object with the `folder` and the `file`.
        sizes: sizes of the vocabularies that the model was trained with.
        name: name of the vocabulary, for the error.
        between: text between several sizes.
    Raises:
        ValueError: if the vocabulary has none of these sizes.
    """
    if vocabulary.size not in sizes:
        trained = between.join(f"{size:,}" for size in sorted(sizes))
        raise ValueError(
            f"{opened.folder / 'vocabulary'}: {name} has {vocabulary.size:,} tokens, but {opened.file.name} was "
            f"trained with {trained}. One of the two was cut short, or is from another run. Copy them again."
        )


def load_part(file: pathlib.Path, load: Callable[[pathlib.Path], Any], missing: str) -> Any:
    """Loads a file beside the model.

    Args:
        load: function that reads the file.
        missing: explanation for a missing file.
    Raises:
        FileNotFoundError: if there is no file.
        ValueError: if it cannot be read. Names the file and the remedy.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist: {missing}")
    with refused(file, "is damaged", "Copy it again from the folder that the model was trained in"):
        return load(file)


@contextlib.contextmanager
def refused(path: pathlib.Path, what: str, remedy: str) -> Iterator[None]:
    """Turns any error of a library into a `ValueError` that names the file and the remedy."""
    try:
        yield
    except Exception as error:  # TensorFlow, Keras, HDF5, protobuf and SentencePiece have different classes of errors
        told = one_line(error).removeprefix(f"{path}: ").rstrip(".")
        raise ValueError(f"{path} {what}: {told}. {remedy}.") from error
