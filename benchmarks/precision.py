"""Training in float32, with the large products in bfloat16 ("auto"), and in a mixed policy of Keras, in turn.

python -m benchmarks.precision                     # on the first core
python -m benchmarks.precision --models lstm paper

The batches are random words without padding, so that only the arithmetic differs.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np

from benchmarks import timing
from keras_seq import cli, layers, losses, metrics, models, optimizers, products
from keras_seq.cli import option


def translator(**options):
    return models.Seq2Seq(8000, tie_embeddings=False, attention=None, bidirectional=False, **options)


def language_model():
    return models.LanguageModel(10_000, layers.RecurrentStack("lstm", 650, num_layers=1, dropout=0.4), dropout=0.4)


# The model, and the shape of a batch.
MODELS = {
    "transformer": ("Transformer-Tiny, 4+4 x 128", lambda: timing.MODELS["transformer"](8000), (128, 15)),
    "lstm": ("LSTM 2 x 256, attention", lambda: timing.MODELS["lstm"](8000), (128, 15)),
    "paper": ("LSTM 2 x 160 without attention", lambda: translator(units=160, num_layers=2), (32, 15)),
    "language model": ("language model, LSTM 1 x 650", language_model, (32, 35)),
}
# The policy of Keras, and the dtype of the large products.
PRECISIONS = {
    "float32": ("float32", "float32"),
    "auto": ("float32", "auto"),
    "bfloat16": ("mixed_bfloat16", "float32"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Times training steps in each precision."""

    models: tuple[str, ...] = option(tuple(MODELS), "models", choices=tuple(MODELS))
    rounds: int = option(8, "rounds, in each of which every precision has its turn")
    steps: int = option(2, "training steps of a turn")
    core: int | None = option(0, "core that everything runs on (none: the system decides)")
    keep_freed_memory: bool = option(True, "glibc keeps freed memory in the process")
    seed: int = option(1, "random seed")


def step_of(make: Callable[[], keras.Model], shape: tuple[int, int], precision: str) -> Callable[[], None]:
    """A training step of a new model, traced."""
    policy, dtype = PRECISIONS[precision]
    keras.config.set_dtype_policy(policy)
    products.set_dtype(dtype)
    model = make()
    model.compile(
        optimizers.Adam(1e-3, global_clipnorm=1.0),
        losses.TokenCrossentropy(),
        weighted_metrics=[metrics.Perplexity()],
        jit_compile=False,
    )
    source, target = np.random.default_rng(0).integers(4, 8000, (2, *shape)).astype("int32")
    x = {"source": source, "target": target} if hasattr(model, "encode") else target

    def step():
        model.train_on_batch(x, target, sample_weight=np.ones(shape, "float32"))

    for _ in range(2):
        step()
    return step


def seconds_of(steps: dict[str, Callable[[], None]], options: Options) -> dict[str, list[float]]:
    """Processor seconds of a step in each round."""
    seconds = {name: [] for name in steps}
    for number in range(options.rounds):
        for name in list(steps)[:: -1 if number % 2 else 1]:
            begun = time.process_time()
            for _ in range(options.steps):
                steps[name]()
            seconds[name].append((time.process_time() - begun) / options.steps)
    return seconds


def main(options: Options) -> None:
    timing.prepare(options)
    rows = []
    for name in options.models:
        title, make, shape = MODELS[name]
        seconds = seconds_of({each: step_of(make, shape, each) for each in PRECISIONS}, options)
        row = [f"{title}, {shape[0]} x {shape[1]} tokens", f"{1e3 * statistics.median(seconds['float32']):.0f}"]
        for other in ("auto", "bfloat16"):
            row.append(timing.spread([a / b for a, b in zip(seconds["float32"], seconds[other], strict=True)]))
        timing.log(" | ".join(row))
        rows.append(row)
    head = ["", "float32, ms of processor time a step", "speed of auto over float32", "of mixed bfloat16"]
    print(f"{timing.machine()}; bfloat16 is faster here: {products.is_faster()}\n")
    print(timing.table(head, rows))


if __name__ == "__main__":
    cli.run(main, Options)
