import json
import logging
import os
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from keras_seq.data.cache import cached, cached_lengths
from tests.reference import quick

ROOT = pathlib.Path(__file__).parents[2]


def ragged_vectors(count=23):
    """(ids, ids), some of them empty."""
    generator = np.random.default_rng(0)
    return [
        tuple(generator.integers(0, 99, n).astype(np.int32) for n in generator.integers(0, 6, 2)) for _ in range(count)
    ]


def dataset_of(elements, signature=None):
    if signature is None:
        signature = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.int32))
    return tf.data.Dataset.from_generator(lambda: iter(elements), output_signature=signature)


def assert_same(dataset, elements):
    found = list(dataset.as_numpy_iterator())
    assert len(found) == len(elements)
    for ours, theirs in zip(found, elements, strict=True):
        tf.nest.assert_same_structure(ours, theirs)
        for a, b in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("per_block", "shards"), quick([(1, 3), (4, 1), (5, 7), (1000, 2)], few=[(5, 7)]))
def test_the_same_elements_in_the_same_order_for_any_number_of_readers(tmp_path, per_block, shards):
    elements = ragged_vectors()
    source = dataset_of(elements)
    for readers in (1, 4, None):
        step = cached(tmp_path, num_readers=readers, examples_per_block=per_block, num_shards=shards)
        found = source.apply(step)
        assert found.element_spec == source.element_spec and found.cardinality() == len(elements)
        assert_same(found, elements)
        assert_same(found.skip(9).take(3), elements[9:12])
    lengths = cached_lengths(tmp_path)
    assert lengths.dtype == np.int64 and lengths.tolist() == [[len(a), len(b)] for a, b in elements]
    assert len(list(tmp_path.glob("*.tfrecord"))) == shards and not list(tmp_path.glob("*.tmp"))


def test_any_nest_of_any_types(tmp_path):
    generator = np.random.default_rng(1)

    def element(n):
        return {
            "words": np.array([b"w" * i + b"\xff" for i in range(n)], object),
            "features": generator.normal(size=(n, 3)).astype(np.float32),
            "long": generator.integers(-(2**60), 2**60, n),
            "label": np.int32(n),
            "name": f"é{n}".encode(),
            "fixed": generator.normal(size=(2, 2)),
            "picture": generator.integers(0, 255, (n, n + 1, 3)).astype(np.uint8),  # two axes of unknown length
            "nested": (np.bool_(n % 2), np.arange(2 * n).astype(np.float16)),
        }

    signature = {
        "words": tf.TensorSpec([None], tf.string),
        "features": tf.TensorSpec([None, 3], tf.float32),
        "long": tf.TensorSpec([None], tf.int64),
        "label": tf.TensorSpec([], tf.int32),
        "name": tf.TensorSpec([], tf.string),
        "fixed": tf.TensorSpec([2, 2], tf.float64),
        "picture": tf.TensorSpec([None, None, 3], tf.uint8),
        "nested": (tf.TensorSpec([], tf.bool), tf.TensorSpec([None], tf.float16)),
    }
    elements = [element(n) for n in (3, 0, 1, 5, 0, 2)]
    source = dataset_of(elements, signature)
    found = source.apply(cached(tmp_path, examples_per_block=4))
    assert found.element_spec == source.element_spec
    assert_same(found, elements)
    by_hand = [[len(x) for x in tf.nest.flatten(e) if np.ndim(x)] for e in elements]  # components by sorted names
    assert cached_lengths(tmp_path).tolist() == by_hand


@pytest.mark.parametrize("spec", [tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.string)])
def test_a_lone_tensor_and_no_examples(tmp_path, spec):
    elements = [np.arange(3), np.arange(0), np.arange(1)] if spec.shape.rank else [b"x", b"", b"y"]
    assert_same(dataset_of(elements, spec).apply(cached(tmp_path / "some")), elements)
    assert_same(dataset_of([], spec).apply(cached(tmp_path / "none")), [])
    lengths = cached_lengths(tmp_path / "some")
    assert lengths.tolist() == ([3, 0, 1] if spec.shape.rank else [[], [], []])
    assert len(cached_lengths(tmp_path / "none")) == 0


class Counted:
    """A source that knows how often it was read."""

    def __init__(self, elements):
        self.elements, self.passes = elements, 0

    def __call__(self):
        self.passes += 1
        yield from self.elements

    def dataset(self):
        sides = tf.TensorSpec([None], tf.int32)
        return tf.data.Dataset.from_generator(self, output_signature=(sides, sides))


def test_stale_or_not(tmp_path, caplog):
    """What is changed, and what the log says of it."""
    folder, text = tmp_path / "cache", tmp_path / "a.en"
    text.write_text("one\n")
    source = Counted(ragged_vectors(5))

    def apply(fingerprint=None, **options):
        return source.dataset().apply(cached(folder, files=text, fingerprint=fingerprint, **options))

    apply({"vocabulary": "abc", "longest": (1, 2)})
    assert_same(apply({"longest": [1, 2], "vocabulary": "abc"}), source.elements)
    assert source.passes == 1 and not caplog.records  # fresh: not read again

    changes = [
        (
            lambda: None,
            {"vocabulary": "abd", "longest": (1, 2)},
            '`fingerprint` was {"vocabulary": "abc"} and is {"voc',
        ),
        (lambda: text.write_text("two\nthree\n"), {"vocabulary": "abd", "longest": (1, 2)}, "a.en"),
        (lambda: os.utime(text, ns=(1, 1)), {"vocabulary": "abd", "longest": (1, 2)}, "a.en"),
        (lambda: None, None, "and is null"),
        (lambda: (folder / "manifest.json").write_text('{"format": 1'), None, "manifest.json is damaged"),
        (lambda: (folder / "manifest.json").write_text("[1]"), None, "manifest.json is damaged"),
        (lambda: shard(folder).unlink(), None, "tfrecord is missing"),
        (lambda: shard(folder).write_bytes(shard(folder).read_bytes()[:-1]), None, r"bytes instead of"),
        (lambda: edit(folder / "manifest.json", format=0), None, "`format` was 0"),
    ]
    for passes, (change, fingerprint, message) in enumerate(changes, start=1):
        change()
        with pytest.raises(ValueError, match="the cache cannot be used.*Remove the folder") as caught:
            apply(fingerprint, on_stale="error")
        assert message in str(caught.value) and source.passes == passes
        caplog.clear()
        assert_same(apply(fingerprint), source.elements)
        assert source.passes == passes + 1 and message in caplog.text
        assert len(list(folder.glob("*.tfrecord"))) == 8  # nothing is left of the old one
    with caplog.at_level(logging.INFO, "keras_seq"):
        other = source.dataset().map(lambda a, b: (a, tf.cast(b, tf.int64)))
        other.apply(cached(folder, files=text))
    assert "`types` was" in caplog.text and "5 examples" in caplog.text


def shard(folder):
    return max(folder.glob("*.tfrecord"), key=lambda path: path.stat().st_size)


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_source_that_breaks_leaves_the_old_cache(tmp_path):
    good = ragged_vectors(5)

    def broken():
        yield from good[:3]
        raise OSError("the disk is gone")

    kept = dataset_of(good).apply(cached(tmp_path, fingerprint=1))
    before = sorted(tmp_path.iterdir())
    sides = tf.TensorSpec([None], tf.int32)
    with pytest.raises(tf.errors.OpError, match="the disk is gone"):
        bad = tf.data.Dataset.from_generator(broken, output_signature=(sides, sides))
        bad.apply(cached(tmp_path, fingerprint=2, examples_per_block=1))
    assert sorted(tmp_path.iterdir()) == before
    assert_same(kept, good)
    assert_same(dataset_of([]).apply(cached(tmp_path, fingerprint=1, on_stale="error")), good)


def test_other_files_in_the_folder_stay(tmp_path):
    for name in ("notes.txt", "examples.tfrecord", "examples-mine-000-of-001.tfrecord"):
        (tmp_path / name).write_text("mine")
    for fingerprint in (1, 2):
        dataset_of(ragged_vectors(3)).apply(cached(tmp_path, fingerprint=fingerprint))
    assert sum(path.read_bytes() == b"mine" for path in tmp_path.iterdir()) == 3


def test_a_flipped_byte_is_noticed(tmp_path):
    found = dataset_of(ragged_vectors()).apply(cached(tmp_path, num_shards=1))
    content = bytearray(shard(tmp_path).read_bytes())
    content[len(content) // 2] ^= 1
    shard(tmp_path).write_bytes(content)
    with pytest.raises(tf.errors.DataLossError):
        list(found)


def test_arguments(tmp_path):
    with pytest.raises(ValueError, match="`num_readers` must be positive.*0"):
        cached(tmp_path, num_readers=0)
    with pytest.raises(ValueError, match="`num_shards` must be positive.*0"):
        cached(tmp_path, num_shards=0)
    with pytest.raises(ValueError, match="'ignore'"):
        cached(tmp_path, on_stale="ignore")
    source = dataset_of(ragged_vectors(2))
    with pytest.raises(ValueError, match="before `repeat`"):
        source.repeat().apply(tf.data.experimental.assert_cardinality(-1)).apply(cached(tmp_path))
    with pytest.raises(ValueError, match="JSON"):
        source.apply(cached(tmp_path, fingerprint={1, 2}))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        source.apply(cached(tmp_path, files=tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="static rank"):
        source.map(lambda a, b: tf.numpy_function(lambda x: x, [a], tf.int32)).apply(cached(tmp_path))
    with pytest.raises(FileNotFoundError, match="holds no cache"):
        cached_lengths(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_threads_that_come_at_once_write_once(tmp_path):
    source = Counted(ragged_vectors())
    results = []

    def build():
        results.append(list(source.dataset().apply(cached(tmp_path)).as_numpy_iterator()))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.passes == 1 and len(results) == 4
    for result in results:
        assert_same(dataset_of(result), source.elements)


SLOW_WRITER = """
import sys, time
import numpy as np, tensorflow as tf
from keras_seq.data.cache import cached

def slow():
    for number in range(30):
        print(number, flush=True)
        time.sleep({pause})
        yield np.arange(number, dtype=np.int32)

source = tf.data.Dataset.from_generator(slow, output_signature=tf.TensorSpec([None], tf.int32))
source.apply(cached(sys.argv[1], examples_per_block=2, num_shards=3))
"""


def slow_writer(folder, pause):
    """Another process, which has begun to write."""
    command = [sys.executable, "-c", SLOW_WRITER.format(pause=pause), str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while process.stdout.readline().strip() != "20":  # what it had printed by then is in the pipe
        assert process.poll() is None
    return process


@pytest.mark.long
def test_killed_in_the_middle(tmp_path):
    process = slow_writer(tmp_path, pause=0.1)
    process.kill()
    process.wait()
    left = {path.name for path in tmp_path.glob("*.tfrecord")}
    assert len(left) == 3 and not (tmp_path / "manifest.json").exists()
    elements = [np.arange(number, dtype=np.int32) for number in range(30)]
    spec = tf.TensorSpec([None], tf.int32)
    assert_same(dataset_of(elements, spec).apply(cached(tmp_path, num_shards=2)), elements)
    names = {path.name for path in tmp_path.glob("*.tfrecord")}
    assert len(names) == 2 and not names & left


@pytest.mark.long
def test_a_second_process_waits_for_the_first(tmp_path):
    process = slow_writer(tmp_path, pause=0.1)
    assert not (tmp_path / "manifest.json").exists()
    spec = tf.TensorSpec([None], tf.int32)
    start = time.perf_counter()
    found = dataset_of([], spec).apply(cached(tmp_path))  # would be empty if this process wrote it
    assert time.perf_counter() - start > 0.3 and process.wait() == 0
    assert_same(found, [np.arange(number, dtype=np.int32) for number in range(30)])
