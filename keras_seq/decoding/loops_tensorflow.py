"""The sizes of the tensors that a loop of TensorFlow carries."""

import tensorflow as tf
from tensorflow.python.ops import control_flow_util  # no public function says whether XLA compiles a graph


def sizes_may_change() -> bool:
    """Whether tensors of a loop may change their sizes: not in code that XLA compiles."""
    return not control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def of_unknown_size(x, axis):
    """x, whose size along an axis a graph does not know.

    A tensor of a loop must keep the sizes that are known when the loop begins.
    """
    shape = [None if i == axis else size for i, size in enumerate(x.shape)]
    return tf.compat.v1.placeholder_with_default(x, shape)


def with_static_shape(x, shape):
    """x, of which a graph may not know all sizes of `shape`. A loop does not allow its variables to lose them."""
    return x if tf.executing_eagerly() else tf.ensure_shape(x, shape)
