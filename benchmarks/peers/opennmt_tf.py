"""OpenNMT-tf 2.32 as a program of `benchmarks.decoding`: its own models, searched by its own `dynamic_decode`.

What it does to the letter, and what not: the end token's score is forbidden by the output layer's bias, and
`maximum_decoding_length` stops the loop. Its beam search has no pool of finished hypotheses: while none finishes, all
`beam_width` rows of a sentence are decoded at every step, as here.
"""

import functools
import importlib.metadata
import pathlib

import numpy as np
import opennmt
import tensorflow as tf
from turns import END, FORBIDDEN, serve

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

SHARED = opennmt.models.EmbeddingsSharingLevel.ALL


def transformer():
    """With the history of attention that its catalog's models keep; without it, 2.32 does not decode."""
    return opennmt.models.Transformer(
        num_layers=4,
        num_units=128,
        num_heads=4,
        ffn_inner_dim=256,
        share_embeddings=SHARED,
    )


def lstm():
    """2 + 2 layers of 256, the encoder in two directions of 128; Luong's attention and input feeding."""
    return opennmt.models.SequenceToSequence(
        *(opennmt.inputters.WordEmbedder(embedding_size=256) for _ in range(2)),
        opennmt.encoders.LSTMEncoder(2, 128, bidirectional=True),
        opennmt.decoders.AttentionalRNNDecoder(2, 256, bridge_class=opennmt.layers.DenseBridge),
        share_embeddings=SHARED,
    )


@functools.cache
def built(name, vocabulary_size, scratch):
    vocabulary = pathlib.Path(scratch, "vocabulary.txt")
    # One more id stands for all unknown words.
    pieces = ["<blank>", "<s>", "</s>", *(f"piece{i}" for i in range(vocabulary_size - 4))]
    vocabulary.write_text("\n".join(pieces) + "\n")
    model = {"transformer": transformer, "lstm": lstm}[name]()
    model.initialize({"source_vocabulary": str(vocabulary), "target_vocabulary": str(vocabulary)}, params={})
    model.create_variables()
    bias = model.decoder.output_layer.bias
    bias.assign(tf.tensor_scatter_nd_update(bias, [[opennmt.constants.END_OF_SENTENCE_ID]], [FORBIDDEN]))
    assert bias.shape == (vocabulary_size,)
    return model


def prepare(num_beams, options):
    model = built(options.model, options.vocabulary_size, options.scratch)

    def found(ids, lengths):
        model.params.update(  # read when the function is traced
            beam_width=num_beams, num_hypotheses=num_beams, maximum_decoding_length=options.max_length
        )
        return model({"ids": ids, "length": lengths})[1]

    signature = [tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None,), tf.int32)]
    found = tf.function(found, input_signature=signature)

    def decode(ids, lengths):
        ids = np.where(ids == END, opennmt.constants.END_OF_SENTENCE_ID, ids)
        results = {name: value.numpy() for name, value in found(ids, lengths).items()}
        return results["length"]  # (B, K)

    return decode


serve(f"OpenNMT-tf {importlib.metadata.version('OpenNMT-tf')} (TensorFlow {tf.__version__})", prepare)
