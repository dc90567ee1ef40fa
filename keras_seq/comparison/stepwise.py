"""The cost of an architecture step by step, with its state, against that of a whole sequence in one call."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_seq.architectures import ARCHITECTURES
from keras_seq.layers import sequence_backbone

ROWS, LENGTH = 32, 64  # of the comparison with a whole sequence
LENGTHS = (16, 64, 256, 512)  # of generated texts
REPEATS = 5
_SHORTEST = 0.02  # seconds of a repeat


def step_costs(
    widths: Mapping[str, int],
    num_layers: int = 1,
    num_heads: int = 4,
    lengths: Sequence[int] = LENGTHS,
    repeats: int = REPEATS,
) -> dict[str, dict[str, Any]]:
    """Times of the stacks of layers alone, in one direction. Run it in a process of its own.

    Args:
        widths: width of each architecture, by name. Those without a stack that has a state are left out.
        num_layers, num_heads: see `layers.sequence_backbone`.
        lengths: numbers of generated tokens, for one row. A Transformer attends to a cache of that length.
        repeats: number of repeats, of which the median counts. Each takes the architectures in turn.
    Returns:
        for each architecture: `whole_sequence_speedup`, the time of `LENGTH` single steps of `ROWS` rows over that of
        one call for all of them; and `generation`, `[{"length", "seconds_per_token"}, ...]`.
    """
    stacks = {
        name: sequence_backbone(name, units, num_layers, num_heads=num_heads)
        for name, units in widths.items()
        if name in ARCHITECTURES
    }
    calls: dict[tuple[str, Any], Callable[[], Any]] = {}
    for name, stack in stacks.items():
        x = keras.random.normal((ROWS, LENGTH, stack.units), seed=1)
        calls[name, "whole"] = _whole(stack, x)
        steps = _steps(stack)
        calls[name, "steps"] = _bound(steps, x, stack.get_initial_state(ROWS, LENGTH), 1)
        for length in lengths:
            one = keras.random.normal((1, length, stack.units), seed=1)
            texts = max(lengths) // length  # equal numbers of steps, so that the cost of a call is the same
            calls[name, length] = _bound(steps, one, stack.get_initial_state(1, length), texts)
    seconds = _medians(calls, repeats)
    return {
        name: {
            "whole_sequence_speedup": seconds[name, "steps"] / seconds[name, "whole"],
            "generation": [
                {"length": n, "seconds_per_token": seconds[name, n] / (n * (max(lengths) // n))} for n in lengths
            ],
        }
        for name in stacks
    }


def _whole(stack: keras.layers.Layer, x: Any) -> Callable[[], Any]:
    run = tf.function(lambda x: stack(x)[0])
    return lambda: run(x)


def _steps(stack: keras.layers.Layer) -> Callable[[Any, Any, int], Any]:
    """A function of x `(B, T, D)`, a state and a number that runs the stack on one step after the other, in the graph,
    and starts again from the state so many times."""
    stack(keras.ops.zeros((1, 2, stack.units)))  # its weights are made outside of the loop

    @tf.function(reduce_retracing=True)
    def run(x, state, times):
        def step(t, y, state):
            y, state = stack(x[:, t][:, None], initial_state=state)
            return t + 1, y, state

        def text(i, y):
            first = (tf.constant(0), y, state)
            return i + 1, tf.while_loop(lambda t, *_: t < tf.shape(x)[1], step, first)[1]

        return tf.while_loop(lambda i, _: i < times, text, (tf.constant(0), tf.zeros_like(x[:, :1])))[1]

    return lambda x, state, times: run(x, state, tf.constant(times))


def _bound(run: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: run(*arguments)


def _medians(calls: Mapping[Any, Callable[[], Any]], repeats: int) -> dict[Any, float]:
    """The median seconds of each call. The first call of each, which traces, does not count."""
    times: dict[Any, list[float]] = {name: [] for name in calls}
    counts = dict.fromkeys(calls, 1)
    for call in calls.values():
        call()
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            begun = time.perf_counter()
            for _ in range(counts[name]):
                call().numpy()
            seconds = (time.perf_counter() - begun) / counts[name]
            if repeat:
                times[name].append(seconds)
            else:
                counts[name] = max(1, round(_SHORTEST / seconds))
    return {name: statistics.median(values) for name, values in times.items()}
