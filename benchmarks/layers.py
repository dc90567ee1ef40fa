"""The recurrent layers against Keras's own, forward and forward + backward: times, ratios and peak memory.

python -m benchmarks.layers

Where PyTorch is installed, its layers are timed beside them.
"""

import ctypes
import dataclasses
import gc
import itertools
import pathlib
import statistics
import time

import keras
import tensorflow as tf

from benchmarks import timing
from keras_seq import cli, layers
from keras_seq.cli import option

try:
    import torch
except ImportError:
    torch = None

PAIRS = {
    "SimpleRNN": (layers.SimpleRNN, keras.layers.SimpleRNN),
    "GRU": (layers.GRU, keras.layers.GRU),
    "LSTM": (layers.LSTM, keras.layers.LSTM),
    "MinGRU": (layers.MinGRU, keras.layers.GRU),
}
IN_TORCH = {"SimpleRNN": "RNN", "GRU": "GRU", "LSTM": "LSTM", "MinGRU": "GRU"}


@dataclasses.dataclass(frozen=True)
class Options:
    """Times each of our layers and Keras's in turn, at each shape, on one thread of one core."""

    layers: tuple[str, ...] = option(tuple(PAIRS), "which; MinGRU is set against Keras's GRU", choices=tuple(PAIRS))
    batch: tuple[int, ...] = option((1, 64), "sequences")
    steps: tuple[int, ...] = option((50, 400), "time steps")
    width: tuple[int, ...] = option((128, 256, 512), "inputs and units")
    rounds: int = option(5, "how often each layer is timed, in turn")
    seconds: float = option(0.3, "how long a timing lasts at least: short programs run several times")
    core: int | None = option(0, "the core that everything runs on; none: the system decides")
    keep_freed_memory: bool = option(True, "glibc keeps freed memory in the process")
    seed: int = option(1, "of the weights")


def main(options: Options) -> None:
    timing.prepare(options)
    if torch is not None:
        torch.set_num_threads(1)
    print(f"{timing.machine()}{f', torch {torch.__version__}' if torch else ''}; one thread\n")
    rows = []
    shapes = itertools.product(options.layers, options.batch, options.steps, options.width, (False, True))
    for name, batch, steps, width, backward in shapes:
        x = tf.random.normal((batch, steps, width))
        programs = [program(layer, x, backward) for layer in PAIRS[name]]
        if torch is not None:
            programs.append(torch_program(IN_TORCH[name], x, backward))
        seconds = in_turn(programs, options)
        memory = [peak_memory(run) for run in programs]
        ours, *others = seconds
        rows.append(
            [
                name,
                f"{batch}, {steps}, {width}",
                "forward + backward" if backward else "forward",
                *(f"{1000 * statistics.median(each):,.2f}" for each in seconds),
                *(timing.spread([a / b for a, b in zip(ours, other, strict=True)]) for other in others),
                *(f"{each:,.1f}" for each in memory),
            ]
        )
        timing.log(" ".join(rows[-1]))
    names = ["ours", "Keras", *(["torch"] if torch else [])]
    head = ["layer", "batch, steps, width", "pass", *(f"{name}, ms" for name in names)]
    head += [*(f"ours / {name}" for name in names[1:]), *(f"{name}, peak MB" for name in names)]
    print(timing.table(head, rows))


def program(layer, x, backward: bool):
    """One call of a layer on x, or the call and all its gradients, as a compiled function without arguments."""
    built = layer(x.shape[-1], return_sequences=True)
    built(x)
    weights = [weight.value for weight in built.trainable_variables]
    slopes = tf.random.normal(x.shape)

    @tf.function
    def forward(x):
        return built(x)

    @tf.function
    def both(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = built(x, training=True)
        return tape.gradient(y, [x, *weights], output_gradients=slopes)

    run = both if backward else forward
    return lambda: run(x)


def torch_program(name: str, x, backward: bool):
    """The same of `torch.nn`, run as PyTorch runs it, without compilation."""
    built = getattr(torch.nn, name)(x.shape[-1], x.shape[-1], batch_first=True)
    x = torch.tensor(x.numpy(), requires_grad=backward)
    slopes = torch.randn(x.shape)

    def forward():
        with torch.no_grad():
            return built(x)[0]

    def both():
        return torch.autograd.grad(built(x)[0], [x, *built.parameters()], slopes)

    return both if backward else forward


def in_turn(programs, options: Options) -> list[list[float]]:
    """Seconds of the processor's time per call: for each program one number a round."""
    repeats = []
    for run in programs:
        run()  # traces
        start = time.process_time()
        run()
        repeats.append(max(1, round(options.seconds / (time.process_time() - start))))
    seconds = [[] for _ in programs]
    for number in range(options.rounds):
        for i in range(len(programs))[:: -1 if number % 2 else 1]:
            start = time.process_time()
            for _ in range(repeats[i]):
                programs[i]()
            seconds[i].append((time.process_time() - start) / repeats[i])
    return seconds


def peak_memory(run) -> float:
    """How far a call raises the process's resident memory at its highest, in MB. Linux only; elsewhere not a number."""
    try:
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = status("VmRSS")
        run()
        return (status("VmHWM") - before) / 1024
    except OSError:
        return float("nan")


def status(field: str) -> int:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))


if __name__ == "__main__":
    cli.run(main, Options)
