"""How a run begins: devices, seeds, data, the run folder, vocabularies, the weights of another run."""

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
# The modules of the packages of the extra "recipes". Generated data, scores and plots need them in the course of a run.
_PACKAGES = {"sacrebleu": "sacrebleu", "jiwer": "jiwer", "num2words": "num2words", "matplotlib": "matplotlib"}
_PACKAGES |= {"scikit-learn": "sklearn"}


def setup(options: Options) -> distribution.scope:
    """Makes the process ready: memory, devices and workers, precision, seeds. Call it before anything computes.

    Returns:
        The scope to build and compile the model in.
    Raises:
        ImportError: if a package of the extra "recipes" is not installed.
    """
    _check_packages()
    training.keep_freed_memory()
    scope = distribution.scope(options.strategy, precision=options.precision)
    keras.utils.set_random_seed(options.seed)
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    return scope


def _check_packages() -> None:
    """Refuses before the training a package that its end would need."""
    missing = [package for package, module in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ImportError(f'Recipes need {", ".join(missing)}: pip install "keras-seq[recipes]"')


def with_data(options: T, name: str) -> T:
    """The options with the folder of their data and, in place of None, the defaults for it: the preset "files", or none
    for synthetic data.

    Args:
        options: have `data_dir` and `download`.
        name: of the data set that `--download` fetches.
    Raises:
        FileNotFoundError, ValueError, OSError: see `data_folder`.
    """
    folder = data_folder(options.data_dir, options.download, name)
    return with_defaults(dataclasses.replace(options, data_dir=folder), *(() if folder is None else ("files",)))


def run_folder(
    options: Options, scope: distribution.scope, parts: Mapping[str, Any], may_change: tuple[str, ...] = ()
) -> training.Run:
    """Opens the run folder `options.run`, a new one or that of the same run; read the data first, which may be wrong.

    Args:
        options: what makes the run what it is.
        scope: of `setup`; only the chief writes, and the others wait until what is overwritten is gone.
        parts: what was read, "train", "valid", ...: a run goes on with the same data alone. What it is tested on may
            change.
        may_change: names of options that may differ when the run is resumed: those of the test, say.
    Raises:
        ValueError: if the folder holds another run, or one of other data. Nothing is written then.
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
    """A vocabulary of the run: the one that its folder has, and otherwise one that is learned and put there.

    Args:
        run, scope: of `run_folder` and `setup`.
        lines: the training text.
        kind: "bpe", "unigram", "words", "characters" or "bytes".
        size: pieces or words at most; fewer where the text gives no more. Bytes have none.
        name: of its file.
        options: more arguments of that kind's `train`.
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
    """The vectors of a vocabulary, `(vocabulary.size, D)`, from the file `options.vectors`; None where it names none.

    Tokens that are not in the file get random vectors. Their number is printed.
    """
    if options.vectors is None:
        return None
    read = data.read_vectors(options.vectors, vocabulary.pieces(range(vocabulary.size)), seed=options.seed)
    print(f"{options.vectors}: {read}.")
    return read.values


def initialize(
    options: Options,
    model: keras.Model,
    run: training.Run,
    vocabularies: Mapping[str, text.Vocabulary],
    files: Mapping[str, str] = types.MappingProxyType({"": "target"}),
) -> None:
    """Puts the weights of the run `options.init_from` into the model, unless this run has begun already.

    Args:
        model: a built model.
        vocabularies: of the weights over a vocabulary, by a part of their names, which are "source", "target", ... in
            the other run's folder too, or "joint"; "" is part of every name. See `training.initialize_from`.
        files: where the name of a vocabulary's file is not that part of the names.
    """
    if options.init_from is None or training.Checkpoints(run.path).latest() is not None:
        return

    def tokens(vocabulary):
        return vocabulary.pieces(range(vocabulary.size))

    def theirs(name):
        folder = options.init_from / "vocabulary"
        for path in [*folder.glob(f"{files.get(name, name)}.*"), *folder.glob("joint.*")]:
            return tokens(text.load(path))
        raise ValueError(f"--init-from {options.init_from}: there is no vocabulary in it, as a run folder has.")

    pairs = {name: (theirs(name), tokens(ours)) for name, ours in vocabularies.items()}
    print(training.initialize_from(model, options.init_from, pairs))


def data_folder(data_dir: str | os.PathLike | None, download: bool, name: str) -> pathlib.Path | None:
    """The folder that a recipe reads: the one given; or the data set `name`, fetched once; or None: neither is wanted.

    Raises:
        FileNotFoundError: if the folder given is not there.
        ValueError: if both are asked for.
        OSError: if the data set cannot be fetched.
    """
    if data_dir is None:
        try:
            return data.fetch(name) if download else None
        except OSError as error:
            names = ", ".join(getattr(source, "members", source.name) for source in data.DATA_SETS[name].sources)
            raise OSError(f"{error} A folder that holds {names} can also be named by --data-dir.") from error
    if download:
        raise ValueError(f"--download fetches {name} into a folder of its own: leave out --data-dir, or --download.")
    if not pathlib.Path(data_dir).is_dir():
        raise FileNotFoundError(f"--data-dir {data_dir}: there is no such folder.")
    return pathlib.Path(data_dir)
