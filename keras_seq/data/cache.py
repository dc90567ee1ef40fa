"""Caches examples in a folder of TFRecord files, and detects caches that are out of date.

The folder holds `manifest.json`, some `examples-*.tfrecord` and `lengths-*.npy`. A record is a block of examples. For
each component it holds the concatenated values of all examples and, for a sequence, the start of each example.
Block k is in file k modulo the number of files, so reading the files in turn restores the original order, for any
number of readers. The manifest is put in place last and atomically. Files that it does not name are ignored.
"""

import ast
import contextlib
import json
import logging
import os
import re
import secrets
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_seq.data.arguments import check_choice, check_positive
from keras_seq.data.file_lock import locked
from keras_seq.data.lines import Paths, as_paths

_FORMAT = 2
_MANIFEST = "manifest.json"
_OURS = re.compile(r"(examples-[0-9a-f]{8}-\d+-of-\d+\.tfrecord|lengths-[0-9a-f]{8}\.npy|manifest-[0-9a-f]{8}\.tmp)")


def cached(
    folder: str | PathLike,
    *,
    fingerprint: Any = None,
    files: Paths = (),
    num_readers: int | None = None,
    on_stale: str = "rebuild",
    examples_per_block: int = 1000,
    num_shards: int = 8,
) -> Callable[[tf.data.Dataset], tf.data.Dataset]:
    """A dataset step that reads the same examples, in the same order, from files in `folder`.

    The files are written, in one pass, when the step is first applied, and again if the cache is stale or damaged: if
    `files`, `fingerprint` or the types of the examples have changed since, or if a file of the cache is missing or has
    another size. One process writes at a time. A second one waits, and reads the files of the first. If a process is
    killed while it writes, its files are ignored, and the next process removes them. One folder holds one cache.

    Args:
        folder: folder of the cache, created if it is missing.
        fingerprint: everything else that determines the examples, as values that JSON can represent: the vocabulary's
            fingerprint, the maximum length.
        files: files that the examples are read from. Their sizes and modification times are recorded.
        num_readers: number of files read at a time. None leaves it to tf.data. The order is the same for any number.
        on_stale: "rebuild", which logs a warning, or "error". A folder without a cache is not an error.
        examples_per_block: examples read at a time. A block of long waveforms or videos should stay below 100 MB.
        num_shards: number of files to spread the examples over, the most that can be read at a time.

    Raises:
        FileNotFoundError: if one of `files` does not exist.
        ValueError: if the cache is stale or damaged and `on_stale="error"`, if the dataset is endless, or if a
            component is not a dense tensor of static rank.
    """
    check_positive(examples_per_block=examples_per_block, num_shards=num_shards)
    check_positive(num_readers=1 if num_readers is None else num_readers)
    check_choice("rebuild", "error", on_stale=on_stale)
    folder = Path(folder)

    def step(dataset: tf.data.Dataset) -> tf.data.Dataset:
        described = _described(dataset, files, fingerprint)
        manifest, problem = _opened(folder, described)
        if problem:
            with locked(folder / "lock", "the cache"):
                manifest, problem = _opened(folder, described)  # another process may have written it
                if problem:
                    _say(folder, manifest, problem, on_stale)
                    manifest = _written(dataset, folder, described, examples_per_block, num_shards)
        return _examples(folder, manifest, dataset.element_spec, num_readers)

    return step


def cached_blocks(folder: str | PathLike) -> tuple[Any, tf.data.Dataset]:
    """The element spec of the examples of a cache, with plain tuples and dicts, and a dataset of its blocks in order,
    each a flat tuple of arrays: for a sequence the values and the row splits `(n + 1,)`, else one array `(n, ...)`.

    Raises:
        FileNotFoundError: if the folder holds no cache.
    """
    folder = Path(folder)
    manifest = _existing(folder)
    element_spec = _element_spec(manifest["types"])
    specs = tf.nest.flatten(element_spec)
    blocks = _interleaved(
        folder, manifest, lambda records: records.map(lambda record: tuple(_parsed(record, specs))), 1
    )
    return element_spec, blocks


def cached_lengths(folder: str | PathLike) -> np.ndarray:
    """The lengths of all examples of a cache, as in `lengths`, without reading any example: int64 `(N, C)` for the C
    components of rank 1 and more, or `(N,)` for one.

    Raises:
        FileNotFoundError: if the folder holds no cache.
    """
    folder = Path(folder)
    manifest = _existing(folder)
    found = np.load(folder / manifest["lengths"])
    return found[:, 0] if found.shape[1] == 1 else found


# The identity of the cached examples.


def _described(dataset: tf.data.Dataset, files: Paths, fingerprint: Any) -> dict[str, Any]:
    """Everything that the examples depend on, as JSON restores it."""
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("An endless dataset cannot be cached. Apply `cached` before `repeat`.")
    for spec in tf.nest.flatten(dataset.element_spec):
        if not isinstance(spec, tf.TensorSpec) or spec.shape.rank is None:
            raise ValueError(
                "Each component must be a dense tensor of static rank. Convert it with `to_tensor` or `ensure_shape`. "
                f"Received: {spec}"
            )
    stamps = {}
    for path in as_paths(files) if files else ():
        state = path.stat()
        stamps[str(path.absolute())] = [state.st_size, state.st_mtime_ns]
    described = {"format": _FORMAT, "types": _types(dataset.element_spec), "files": stamps, "fingerprint": fingerprint}
    try:
        return json.loads(json.dumps(described))
    except (TypeError, ValueError) as error:
        raise ValueError(f"`fingerprint` must be valid as JSON: {error}. Received: {fingerprint!r}") from error


def _types(spec: Any) -> Any:
    """The element spec as JSON: "int32 (None, 3)" for a component, a list for a tuple, an object for a dict."""
    if isinstance(spec, tf.TensorSpec):
        return f"{spec.dtype.name} {spec.shape}"
    return {name: _types(spec[name]) for name in spec} if isinstance(spec, dict) else [_types(part) for part in spec]


def _element_spec(types: Any) -> Any:
    if isinstance(types, str):
        dtype, shape = types.split(" ", 1)
        return tf.TensorSpec(ast.literal_eval(shape), dtype)
    if isinstance(types, dict):
        return {name: _element_spec(types[name]) for name in types}
    return tuple(_element_spec(part) for part in types)


def _manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest, empty if it is damaged, or None if there is none."""
    try:
        found = json.loads((folder / _MANIFEST).read_bytes())
        return found if isinstance(found, dict) else {}
    except FileNotFoundError:
        return None
    except ValueError:
        return {}


def _existing(folder: Path) -> dict[str, Any]:
    manifest = _manifest(folder)
    if not manifest or manifest.get("format") != _FORMAT:
        raise FileNotFoundError(f"{folder} holds no cache. Write one with `dataset.apply(cached({str(folder)!r}))`.")
    return manifest


def _opened(folder: Path, described: dict[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """The manifest, and the reason why the cache cannot be used, or None."""
    manifest = _manifest(folder)
    if manifest is None:
        return None, "there is no cache"
    if not manifest.keys() >= {*described, "sizes", "lengths", "examples", "examples_per_block"}:
        return manifest, f"{_MANIFEST} is damaged"
    for name, now in described.items():
        before = manifest[name]
        if before != now:
            if isinstance(before, dict) and isinstance(now, dict):  # report only the differences
                before, now = (
                    {key: side[key] for key in side if key not in other or other[key] != side[key]}
                    for side, other in ((before, now), (now, before))
                )
            return manifest, f"`{name}` was {_short(before)} and is {_short(now)}"
    for name, size in manifest["sizes"].items():
        path = folder / name
        if not path.is_file():
            return manifest, f"{name} is missing"
        if path.stat().st_size != size:
            return manifest, f"{name} has {path.stat().st_size:,} bytes instead of {size:,}"
    return manifest, None


def _short(value: Any) -> str:
    return textwrap.shorten(json.dumps(value), 200, placeholder=" ...")


def _say(folder: Path, manifest: dict[str, Any] | None, problem: str, on_stale: str) -> None:
    logger = logging.getLogger("keras_seq")
    if manifest is None:
        logger.info("%s: writing the examples", folder)
    elif on_stale == "rebuild":
        logger.warning("%s: rewriting the cache: %s", folder, problem)
    else:
        raise ValueError(
            f'{folder}: the cache cannot be used: {problem}. Remove the folder, or pass on_stale="rebuild".'
        )


# Writing.


def _written(
    dataset: tf.data.Dataset, folder: Path, described: dict[str, Any], examples_per_block: int, num_shards: int
) -> dict[str, Any]:
    """Writes the cache, under the lock, and returns its manifest."""
    start = time.perf_counter()
    _remove_all_but(folder, _manifest(folder) or {})  # remains of a process that was killed
    build = secrets.token_hex(4)  # new names, so that readers of the old files never read half of the new ones
    shards = [f"examples-{build}-{number:03}-of-{num_shards:03}.tfrecord" for number in range(num_shards)]
    lengths_name, temporary = f"lengths-{build}.npy", folder / f"manifest-{build}.tmp"
    lengths = [np.zeros((0, sum(spec.shape.rank > 0 for spec in tf.nest.flatten(dataset.element_spec))), np.int64)]
    try:
        with contextlib.ExitStack() as stack:
            writers = [stack.enter_context(tf.io.TFRecordWriter(str(folder / name))) for name in shards]
            for number, (record, block_lengths) in enumerate(_blocks(dataset, examples_per_block)):
                writers[number % num_shards].write(record)
                lengths.append(block_lengths)
        np.save(folder / lengths_name, np.concatenate(lengths))
        manifest = {
            **described,
            "examples": sum(map(len, lengths)),
            "examples_per_block": examples_per_block,
            "lengths": lengths_name,
            "sizes": {name: (folder / name).stat().st_size for name in (*shards, lengths_name)},
        }
        temporary.write_text(json.dumps(manifest, indent=1) + "\n")
        os.replace(temporary, folder / _MANIFEST)
    finally:
        _remove_all_but(folder, _manifest(folder) or {})  # the old cache, or after an error the files written so far
    logging.getLogger("keras_seq").info(
        "%s: %s examples, %.1f MB, written in %.1f s",
        *(folder, f"{manifest['examples']:,}", sum(manifest["sizes"].values()) / 1e6, time.perf_counter() - start),
    )
    return manifest


def _remove_all_but(folder: Path, manifest: dict[str, Any]) -> None:
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name) and path.name not in manifest.get("sizes", ()):
            path.unlink(missing_ok=True)


def is_sequence(spec: tf.TensorSpec) -> bool:
    """Whether only the length is unknown. Other components are stored whole if their shape is static, else
    serialized one example at a time."""
    return spec.shape.rank > 0 and spec.shape[0] is None and spec.shape[1:].is_fully_defined()


def _blocks(dataset: tf.data.Dataset, examples_per_block: int) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yields records, and the lengths `(n, C)` of the examples of each."""
    specs = tf.nest.flatten(dataset.element_spec)

    def flat(*example):
        parts = []
        for spec, part in zip(specs, tf.nest.flatten(example), strict=True):
            whole = spec.shape.is_fully_defined() or is_sequence(spec)
            parts.append(part if whole else tf.io.serialize_tensor(part))
        lengths = [tf.shape(part, tf.int64)[0] for part in tf.nest.flatten(example) if part.shape.rank]
        return (*parts, tf.stack(lengths) if lengths else tf.zeros([0], tf.int64))

    def record(*block):
        *block, lengths = block
        return tf.io.serialize_tensor(tf.stack([tf.io.serialize_tensor(part) for part in split_block(block)])), lengths

    blocks = dataset.map(flat, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    blocks = blocks.ragged_batch(examples_per_block).map(record)
    return blocks.prefetch(2).as_numpy_iterator()


def split_block(block: Iterable[tf.Tensor | tf.RaggedTensor]) -> tuple[tf.Tensor, ...]:
    """For each component of a block, as from `ragged_batch`: the values and row splits of a sequence, or one tensor."""
    parts = []
    for part in block:
        parts += [part.values, part.row_splits] if isinstance(part, tf.RaggedTensor) else [part]
    return tuple(parts)


# Reading.


def _interleaved(
    folder: Path,
    manifest: dict[str, Any],
    step: Callable[[tf.data.Dataset], tf.data.Dataset],
    block_length: int,
    num_readers: int | None = None,
) -> tf.data.Dataset:
    """The records of all files in their original order, after a step that makes `block_length` elements of each."""
    shards = [str(folder / name) for name in manifest["sizes"] if name != manifest["lengths"]]
    return tf.data.Dataset.from_tensor_slices(shards).interleave(
        lambda path: tf.data.TFRecordDataset(path).apply(step),
        cycle_length=len(shards),
        block_length=block_length,
        num_parallel_calls=tf.data.AUTOTUNE if num_readers is None else min(num_readers, len(shards)),
        deterministic=True,
    )


def _parsed(record: tf.Tensor, specs: list[tf.TensorSpec]) -> list[tf.Tensor]:
    """The parts of a block, as from `split_block`. Components of another kind are strings, one for each example."""
    kinds = []
    for spec in specs:
        if is_sequence(spec):
            kinds += [(spec.dtype, spec.shape), (tf.int64, [None])]
        else:
            whole = spec.shape.is_fully_defined()
            kinds.append((spec.dtype, [None, *spec.shape]) if whole else (tf.string, [None]))
    parts = tf.unstack(tf.io.parse_tensor(record, tf.string), len(kinds))
    return [
        tf.ensure_shape(tf.io.parse_tensor(part, dtype), shape)
        for part, (dtype, shape) in zip(parts, kinds, strict=True)
    ]


def _examples(folder: Path, manifest: dict[str, Any], element_spec: Any, num_readers: int | None) -> tf.data.Dataset:
    specs = tf.nest.flatten(element_spec)

    def examples_of(record):
        parts = iter(_parsed(record, specs))
        values, columns = [], []  # kept whole; sliced for each example
        for spec in specs:
            values.append(next(parts) if is_sequence(spec) else None)
            column = next(parts)
            columns.append((column[:-1], column[1:]) if is_sequence(spec) else column)

        def example(*columns):
            parts = []
            for spec, value, column in zip(specs, values, columns, strict=True):
                if value is not None:
                    column = value[column[0] : column[1]]
                elif not spec.shape.is_fully_defined():
                    column = tf.ensure_shape(tf.io.parse_tensor(column, spec.dtype), spec.shape)
                parts.append(column)
            return tf.nest.pack_sequence_as(element_spec, parts)

        # Slicing values that all examples share costs half as much as unbatching ragged rows.
        return tf.data.Dataset.from_tensor_slices(tuple(columns)).map(example)

    examples = _interleaved(
        folder, manifest, lambda records: records.flat_map(examples_of), manifest["examples_per_block"], num_readers
    )
    # Whole files for each worker would change the order, and there may be fewer files than workers.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return examples.apply(tf.data.experimental.assert_cardinality(manifest["examples"])).with_options(options)
