"""keras_seq as a program of `benchmarks.decoding`: `decoding.search` in a graph of one trace for all shapes."""

import functools
import os

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import tensorflow as tf
from turns import END, PAD, serve

from benchmarks import timing
from keras_seq import __version__, decoding

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
START = 2


@functools.cache
def built(name, vocabulary_size):
    keras.utils.set_random_seed(1)
    return timing.never_ending(timing.MODELS[name](vocabulary_size), END)


def prepare(num_beams, options):
    model = built(options.model, options.vocabulary_size)

    def found(source):
        ids = {"start_id": START, "end_id": END, "pad_id": PAD}
        return decoding.search(
            model, source, max_length=options.max_length, num_beams=num_beams, num_return=num_beams, **ids
        )

    found = tf.function(found, input_signature=[tf.TensorSpec((None, None), tf.int32)], autograph=False)

    def decode(ids, lengths):
        return [x.numpy() for x in found(ids)][1]

    return decode


serve(f"keras_seq {__version__} (TensorFlow {tf.__version__}, Keras {keras.__version__})", prepare)
