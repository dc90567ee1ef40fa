"""Where a training step's time goes: TensorFlow's own trace of the operations, summed by part and by kind."""

import collections
import re
import tempfile
from pathlib import Path

import keras
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

# The first pattern that is found in an operation's name (scope/.../name:Type) names its part, and its kind.
PARTS = {
    "optimizer": r"/adam(_\d+)?/",
    "clipping, and the backward loops of recurrent layers": r"^\w+/[A-Za-z0-9_]+(/ReadVariableOp)?:",
    "loss": r"/compile_loss/|:SparseSoftmax",
    "scores over the vocabulary": r"/target_embedding_\d+/.*:\w*(MatMul|Transpose|Reshape)",
    "embeddings": r"/(target|source)_embedding_\d+/",
    "encoder": r"/encoder_",
    "decoder": r"/decoder_|/attention_|/(key|output)_\d+/",
}
_POINTWISE = "Mul|Add|Sub|Div|Select|Relu|Tanh|Sigmoid|Exp|Sqrt|Square|Greater|Less|Equal|Cast|Neg|Pow|Log"
_MOVES = "Transpose|Concat|Split|Slice|Gather|Pack|Reshape|Tile|Reverse|Fill|ZerosLike|Identity|Pad|Unique"
KINDS = {
    "matrix products": r":.*(MatMul|Einsum)",
    "softmax and cross-entropy": r":.*Softmax",
    "lists of time steps": r":.*TensorList",
    "dropout's random numbers": r":Stateless",
    "moving data": rf":.*({_MOVES})",
    "sums": r":.*(Sum|Mean|AddN|BiasAddGrad|Segment|L2Loss)",
    "element by element": rf":.*({_POINTWISE})",
    "control": "",
}


def seconds_by_operation(model: keras.Model, batches: tf.data.Dataset) -> dict[str, float]:
    """Trains on the batches, which must not be new to the model, and returns each operation's own seconds."""
    with tempfile.TemporaryDirectory() as folder:
        options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=2, python_tracer_level=0)
        with tf.profiler.experimental.Profile(folder, options):
            model.fit(batches, shuffle=False, verbose=0)
        space = xplane_pb2.XSpace()
        space.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    seconds = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for name, picoseconds in _own_time(line.events):
                label = plane.event_metadata[name].name
                if re.search(r":\w+$", label) and "::" not in label:  # an operation, not the runtime's own note
                    seconds[label] += picoseconds / 1e12
    return dict(seconds)


def _own_time(events):
    """Each event's duration less that of the events inside it."""
    open_events = []  # (end, name, own time)
    for event in sorted(events, key=lambda event: (event.offset_ps, -event.duration_ps)):
        while open_events and open_events[-1][0] <= event.offset_ps:
            yield open_events.pop()[1:]
        if open_events:
            open_events[-1][2] -= event.duration_ps
        open_events.append([event.offset_ps + event.duration_ps, event.metadata_id, event.duration_ps])
    for event in open_events:
        yield event[1:]


def shares(seconds: dict[str, float], patterns: dict[str, str]) -> dict[str, float]:
    """How the operations' time is shared out, in order of `patterns`; what none matches is "other"."""
    found = dict.fromkeys([*patterns, "other"], 0.0)
    for label, own in seconds.items():
        found[next((part for part, pattern in patterns.items() if re.search(pattern, label)), "other")] += own
    total = sum(found.values())
    return {part: own / total for part, own in found.items() if own}
