"""The files of a run folder, and how a model and its vocabularies are read from them."""

import contextlib
import pathlib
import zipfile
from collections.abc import Callable, Collection, Iterator
from typing import Any

from keras_seq.tasks.results import one_line

_PLACES = "run folder (best.keras, vocabulary/), another .keras file in it, or a SavedModel"
_RUN_PARTS = ("config.json", "history.csv", "checkpoints", "vocabulary")
_EXPANSION = 100  # times its size that a file may unpack to; Keras packs nothing
_MAKE_AGAIN = "Copy the file anew, or make it again: keras-seq average does that from the run's checkpoints"


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


def load_keras(file: pathlib.Path) -> Any:
    """The model in a `.keras` file. No code that the file may hold is run.

    Raises:
        ValueError: if it is damaged, or holds what Keras refuses.
    """
    import keras

    import keras_seq.decoding
    import keras_seq.models  # noqa: F401, both register classes

    if not zipfile.is_zipfile(file):
        raise ValueError(f"{file} is damaged: it was cut short, or is no Keras model. {_MAKE_AGAIN}.")
    with refused(file, "is damaged", _MAKE_AGAIN), zipfile.ZipFile(file) as archive:
        declared, there = sum(part.file_size for part in archive.infolist()), file.stat().st_size
        if declared > _EXPANSION * there:
            raise ValueError(f"it would unpack to {declared:,} bytes, and has {there:,}")
        broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"the checksum of {broken} in it is wrong")
    with refused(file, "could not be loaded", _MAKE_AGAIN):
        try:
            model = keras.models.load_model(file, compile=False)  # safe_mode is on by default
        except Exception as error:
            if "safe_mode" in str(error) or "Lambda" in str(error):
                raise ValueError(
                    "it holds Python code (a Lambda layer or a lambda), which is not run. Write that layer as a "
                    "registered class"
                ) from error
            raise
    if not isinstance(model, keras.Model):
        raise ValueError(f"{file} holds a {type(model).__name__}, which is no Keras model. {_MAKE_AGAIN}.")
    return model


def check_decodes(model: Any, file: pathlib.Path) -> None:
    """Raises `ValueError` for a model without a search; names the verbs for others."""
    if not callable(getattr(model, "decode", None)):
        raise ValueError(
            f"{file} is a {type(model).__name__}, which does not decode: it has no `decode`, as Seq2Seq, Transformer "
            "and LanguageModel have. keras-seq classify takes classifiers of text, keras-seq tag taggers, keras-seq "
            "transcribe recognizers of speech, keras-seq forecast forecasters of series; use another model in Python."
        )


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


def vocabulary_sides(folder: pathlib.Path, *, single: bool) -> tuple[pathlib.Path, pathlib.Path]:
    """The files of the source and of the target; the same one twice where there is one vocabulary.

    Args:
        single: whether the model has one side only; a file of any name will then do.
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
    """That of a model which reads texts or says them, and not both."""
    return load_vocabulary(vocabulary_sides(folder, single=True)[1])


def load_vocabulary(file: pathlib.Path) -> Any:
    from keras_seq import text

    with refused(file, "is no vocabulary", "Copy it anew from the folder that the model was trained in"):
        return text.load(file)


def input_sizes(model: Any) -> set[int]:
    """Of the vocabularies that a model embeds the tokens of."""
    return {layer.input_dim for layer in model._flatten_layers() if hasattr(layer, "input_dim")}


def reads_tokens(model: Any) -> bool:
    """Whether what a model takes are ids, not sounds or pictures."""
    inputs = getattr(model, "inputs", None) or []
    return bool(input_sizes(model)) or any("int" in x.dtype and len(x.shape) == 2 for x in inputs)


def check_vocabulary(
    opened: Any, vocabulary: Any, sizes: Collection[int], *, name: str = "the vocabulary", between: str = " or "
) -> None:
    """Compares a vocabulary with its model.

    Args:
        opened: has the `folder` and the `file`.
        sizes: of vocabularies that the model was trained with.
        name: what the vocabulary is called.
        between: written between the sizes, if there are several.
    Raises:
        ValueError: if it has none of these sizes.
    """
    if vocabulary.size not in sizes:
        trained = between.join(f"{size:,}" for size in sorted(sizes))
        raise ValueError(
            f"{opened.folder / 'vocabulary'}: {name} has {vocabulary.size:,} tokens, and {opened.file.name} was "
            f"trained with {trained}. One of the two was cut short, or is of another run: copy them anew."
        )


def load_part(file: pathlib.Path, load: Callable[[pathlib.Path], Any], missing: str) -> Any:
    """What lies beside the model.

    Args:
        load: reads the file.
        missing: what it means that there is none.
    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it cannot be read; names the file and the remedy.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist: {missing}")
    with refused(file, "is damaged", "Copy it anew from the folder that the model was trained in"):
        return load(file)


@contextlib.contextmanager
def refused(path: pathlib.Path, what: str, remedy: str) -> Iterator[None]:
    """Names the file and the remedy, whatever a library says of it."""
    try:
        yield
    except Exception as error:  # of many kinds: TensorFlow, Keras, HDF5, protobuf and SentencePiece have their own
        told = one_line(error).removeprefix(f"{path}: ").rstrip(".")
        raise ValueError(f"{path} {what}: {told}. {remedy}.") from error
