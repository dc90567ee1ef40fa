"""Training steps of the model of Sutskever et al. 2014 at full size: memory and time of ways to train it.

taskset -c 0 .venv/bin/python -m benchmarks.large_vocabulary

Each way runs in its own process. The batch is random: 128 sentences of 30 words, of which a fifth is padding.
"""

import dataclasses
import resource
import statistics
import time

import keras
import numpy as np

from benchmarks import timing
from keras_seq import cli, losses, metrics, models, optimizers, products
from keras_seq.cli import option

# Arguments of the loss, and the optimizer.
WAYS = {
    "all logits, optimizer of Keras": ({}, keras.optimizers.SGD),
    "all logits, rows of embeddings": ({}, optimizers.SGD),
    "logits in chunks, rows of embeddings": ({"chunk_size": 1024}, optimizers.SGD),
    "2,000 sampled words, rows of embeddings": ({"num_sampled": 2_000}, optimizers.SGD),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains the encoder-decoder of Sutskever et al. 2014 on a random batch."""

    ways: tuple[str, ...] = option(tuple(WAYS), "ways to train", choices=tuple(WAYS))
    source_vocabulary_size: int = option(160_000, "number of source words")
    target_vocabulary_size: int = option(80_000, "number of target words")
    units: int = option(1000, "width of layers and embeddings")
    num_layers: int = option(4, "number of layers of encoder and of decoder")
    rows: int = option(128, "number of sentences of the batch")
    length: int = option(30, "number of words of the longest sentence")
    precision: str = option("float32", "compute dtype", choices=("float32", "auto", "bfloat16"))
    steps: int = option(3, "number of steps, after one that traces")
    core: int | None = option(0, "core that everything runs on (none: the system decides)")
    keep_freed_memory: bool = option(False, "glibc keeps freed memory in the process")
    seed: int = option(1, "random seed")


def build(options: Options) -> models.Seq2Seq:
    """The model of section 3.4, all of whose weights are uniform in [-0.08, 0.08]."""
    return models.Seq2Seq(
        options.source_vocabulary_size,
        options.target_vocabulary_size,
        units=options.units,
        num_layers=options.num_layers,
        attention=None,
        bidirectional=False,
        reverse_source=True,
        tie_embeddings=False,
        initializer=keras.initializers.RandomUniform(-0.08, 0.08, seed=options.seed),
    )


def batch(options: Options) -> tuple:
    rng = np.random.default_rng(options.seed)
    lengths = rng.integers(int(0.6 * options.length), options.length + 1, options.rows)
    real = np.arange(options.length) < lengths[:, None]

    def words(size):
        return np.where(real, rng.integers(1, size, real.shape), 0).astype("int32")

    inputs = {"source": words(options.source_vocabulary_size), "target": words(options.target_vocabulary_size)}
    return inputs, words(options.target_vocabulary_size), real.astype("float32")


def measure(options: Options, way: str) -> tuple[int, int, list[float], float]:
    """The number of parameters, the peak of this process in bytes, CPU seconds of each step, and the first loss."""
    timing.prepare(options)
    keras.config.set_dtype_policy("mixed_bfloat16" if options.precision == "bfloat16" else "float32")
    products.set_dtype("auto" if options.precision == "auto" else "float32")
    scored, optimizer = WAYS[way]
    model = build(options)
    model.compile(
        optimizer(0.7, global_clipnorm=5.0),
        losses.SequenceCrossentropy(**scored),
        weighted_metrics=[metrics.Perplexity()],
        jit_compile=False,
    )
    seconds, loss = [], None
    for _ in range(options.steps + 1):
        start = time.process_time()
        results = model.train_on_batch(*batch(options), return_dict=True)
        loss = loss or results["loss"]
        seconds.append(time.process_time() - start)
    return model.count_params(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, seconds[1:], loss


def main(options: Options) -> None:
    tokens = int(batch(options)[2].sum())
    rows = []
    for way in options.ways:
        parameters, peak, seconds, loss = timing.in_new_process(measure, options, way)
        median = statistics.median(seconds)
        timing.log(f"{way}: {parameters:,} parameters, first loss {loss:.4f}, seconds {seconds}")
        rows.append([way, f"{peak / 2**30:.1f}", timing.spread(seconds), f"{tokens / median:.0f}"])
    print(f"{timing.machine()}; {options}\n")
    print(timing.table(["", "peak GiB of the process", "CPU s a step", "target tokens per CPU s"], rows))


if __name__ == "__main__":
    cli.run(main, Options)
