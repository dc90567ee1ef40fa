"""Setup of a run: devices, seeds, data, the run folder, vocabularies, initial weights from another run."""

import dataclasses
import importlib.util
import os
import pathlib
import types
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_seq import data, distribution, text, training
from keras_seq.experiment.options import Options, T, with_defaults

_ENDINGS = {"bpe": ".spm", "unigram": ".spm", "words": ".words", "characters": ".characters", "bytes": ".bytes"}
WITH_RECURRENT_DROPOUT = ("rnn", "gru", "lstm")
# Packages of the extra "recipes" and their modules. Synthetic data, scores and plots need them during a run.
_PACKAGES = {"sacrebleu": "sacrebleu", "jiwer": "jiwer", "num2words": "num2words", "matplotlib": "matplotlib"}
_PACKAGES |= {"scikit-learn": "sklearn"}


def setup(options: Options) -> distribution.scope:
    """Sets up the process: memory, devices and workers, precision, seeds. Call it before any computation.

    Returns:
        The scope in which to build and compile the model.
    Raises:
        ImportError: if a package of the extra "recipes", or TensorBoard where it is asked for, is not installed.
    """
    _check_packages(options)
    training.keep_freed_memory()
    scope = distribution.scope(options.strategy, precision=options.precision)
    keras.utils.set_random_seed(options.seed)
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    return scope


def _check_packages(options: Options) -> None:
    """Raises `ImportError` before training for a missing package that the end of the run needs."""
    if options.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ImportError('`tensorboard` needs the package: pip install "keras-seq[tensorboard]"')
    missing = [package for package, module in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(f'Recipes need {", ".join(missing)}: pip install "keras-seq[recipes]"')


def with_data(options: T, name: str, file_too: bool = False) -> T:
    """The options with the data folder and with defaults in place of None: those of the preset "files", or of no preset
    for synthetic data.

    Args:
        options: options with `data_dir` and `download`.
        name: name of the data set that `--download` fetches.
        file_too: whether `data_dir` may be a single file, of training data.
    Raises:
        FileNotFoundError, ValueError, OSError: see `data_folder`.
    """
    folder = data_folder(options.data_dir, options.download, name, file_too)
    return with_defaults(dataclasses.replace(options, data_dir=folder), *(() if folder is None else ("files",)))


def run_folder(
    options: Options, scope: distribution.scope, parts: Mapping[str, Any], may_change: tuple[str, ...] = ()
) -> training.Run:
    """Opens the run folder `options.run`: creates it, or resumes the same run. Read the data first, to find errors in
    the data before anything is written.

    Args:
        options: options of the recipe, which identify the run.
        scope: scope of `setup`. Only the chief writes, and the other workers wait until an overwritten run is removed.
        parts: data by split, "train", "valid", ... A run can be resumed with the same data only. Its test data may
            change.
        may_change: names of options that may differ when the run is resumed, such as those of the test.
    Raises:
        ValueError: if the folder holds another run, or a run on other data. Nothing is written then.
    """
    digests = {name: data.fingerprint(part) for name, part in parts.items() if name not in ("test", "long")}
    how = {"overwrite": options.overwrite, "may_change": may_change, "chief": scope.chief}
    run = training.Run(options.run, options.identity(), data=digests, **how)
    scope.any_worker(False)
    return run


def vocabulary(
    run: training.Run,
    scope: distribution.scope,
    lines: Iterable[str | list[str]],
    kind: str,
    size: int | None = None,
    *,
    name: str = "joint",
    **options,
) -> text.Vocabulary:
    """Loads the vocabulary of the run, or trains one and saves it in the run folder.

    Args:
        run, scope: run of `run_folder` and scope of `setup`.
        lines: training text.
        kind: "bpe", "unigram", "words", "characters" or "bytes".
        size: greatest number of pieces or words. A small text gives fewer. Unused for bytes.
        name: name of the file.
        options: further arguments of `train` of that kind.
    """
    path = run.vocabulary / (name + _ENDINGS[kind])
    if scope.chief and not path.exists():
        if kind == "bytes":
            learned = text.Bytes()
        elif kind in ("bpe", "unigram"):
            learned = text.Subwords.train(lines, size, model_type=kind, hard_vocab_limit=False, **options)
        else:
            learned = {"words": text.Words, "characters": text.Characters}[kind].train(lines, size, **options)
        with training.atomic_write(path) as temporary:
            learned.save(temporary)
    scope.any_worker(False)  # the other workers wait for the file
    return text.load(path)


def word_vectors(options: Options, vocabulary: text.Vocabulary) -> np.ndarray | None:
    """Reads word vectors of a vocabulary, `(vocabulary.size, D)`, from the file `options.vectors`. None without a file.

    Tokens that are not in the file get random vectors. Their number is printed.
    """
    if options.vectors is None:
        return None
    read = data.read_vectors(options.vectors, vocabulary.pieces(range(vocabulary.size)), seed=options.seed)
    print(f"{options.vectors}: {read}.")
    return read.values


def recurrent_dropout(options: Options) -> dict[str, float]:
    """The `architecture_options` for `options.recurrent_dropout`. Empty if the rate is 0.

    Raises:
        ValueError: if the architecture does not have such a dropout.
    """
    if not options.recurrent_dropout:
        return {}
    if options.architecture not in WITH_RECURRENT_DROPOUT:
        raise ValueError(
            f"--recurrent-dropout is for {', '.join(WITH_RECURRENT_DROPOUT)}: the state of --architecture "
            f"{options.architecture} has no product that it could be for. Leave it out."
        )
    return {"recurrent_dropout": options.recurrent_dropout}


def initialize(
    options: Options,
    model: keras.Model,
    run: training.Run,
    vocabularies: Mapping[str, text.Vocabulary],
    files: Mapping[str, str] = types.MappingProxyType({"": "target"}),
) -> None:
    """Initializes the model with the weights of the run `options.init_from`, unless this run already has a checkpoint.

    Args:
        options, run: options and run of the recipe.
        model: built model.
        vocabularies: vocabularies by a substring of the names of their weights, such as "source" or "target". "" is in
            every name. The other run's vocabulary is its file of that name, or "joint". See
            `training.initialize_from`.
        files: names of vocabulary files that differ from the substring.
    """
    if options.init_from is None or training.Checkpoints(run.path).latest() is not None:
        return

    def tokens(vocabulary):
        return vocabulary.pieces(range(vocabulary.size))

    def other_tokens(name):
        folder = options.init_from / "vocabulary"
        for path in [*folder.glob(f"{files.get(name, name)}.*"), *folder.glob("joint.*")]:
            return tokens(text.load(path))
        raise ValueError(f"--init-from {options.init_from} has no vocabulary. Name a run folder.")

    pairs = {name: (other_tokens(name), tokens(ours)) for name, ours in vocabularies.items()}
    print(training.initialize_from(model, options.init_from, pairs))


def data_folder(
    data_dir: str | os.PathLike | None, download: bool, name: str, file_too: bool = False
) -> pathlib.Path | None:
    """The folder that a recipe reads: `data_dir`, or the data set `name`, downloaded once. None for synthetic data.

    Args:
        file_too: whether `data_dir` may be a single file.
    Raises:
        FileNotFoundError: if `data_dir` does not exist, or is a file that it must not be.
        ValueError: if both are requested.
        OSError: if the data set cannot be downloaded.
    """
    if data_dir is None:
        try:
            return data.fetch(name) if download else None
        except OSError as error:
            names = ", ".join(getattr(source, "members", source.name) for source in data.DATA_SETS[name].sources)
            raise OSError(f"{error} A folder that holds {names} can also be named by --data-dir.") from error
    if download:
        raise ValueError(f"--download fetches {name} into another folder. Leave out --data-dir, or --download.")
    if not pathlib.Path(data_dir).exists():
        raise FileNotFoundError(f"--data-dir {data_dir} does not exist. Name a folder.")
    if not file_too and not pathlib.Path(data_dir).is_dir():
        raise FileNotFoundError(f"--data-dir {data_dir} is a file. Name the folder that it is in.")
    return pathlib.Path(data_dir)
