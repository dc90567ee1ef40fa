"""Word vectors from characters."""

import keras
from keras import ops

from keras_seq.layers.composite import CompositeLayer
from keras_seq.layers.convolution import MaskedConv1D
from keras_seq.layers.embeddings import TokenEmbedding
from keras_seq.layers.pooling import MaxPooling
from keras_seq.layers.recurrent_stack import RecurrentStack


@keras.saving.register_keras_serializable("keras_seq")
class CharacterEncoder(CompositeLayer):
    """Computes a vector for each word from its characters, so that unseen words have one too.

    Args:
        vocabulary_size: number of character ids.
        units: width of the output, D.
        architecture: "cnn", a convolution and its maximum over the word, or a cell of `RecurrentStack`, whose final
            states in both directions are concatenated.
        embedding_dim: width of the character embeddings.
        kernel_size: number of characters that the convolution covers.
        dropout: rate of dropout on the character embeddings.
        pad_id: id of padding, on the right of each word.
    Call arguments:
        characters: int `(B, T, C)`, the character ids of each word.
    Returns:
        float `(B, T, D)`, zeros for a word without characters. The mask marks the words that have characters.
    Raises:
        ValueError: if the architecture is a cell and `units` is odd, or if the cell is unknown.
    Source: Lample et al. 2016, section 4.1, arXiv:1603.01360; "cnn": Ma and Hovy 2016, section 2.1, arXiv:1603.01354.
    """

    input_kind = "int32"

    def __init__(
        self,
        vocabulary_size,
        units,
        architecture: str | type = "lstm",
        embedding_dim=32,
        kernel_size=3,
        dropout=0.0,
        pad_id=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.architecture = architecture
        self.embedding_dim = embedding_dim
        self.kernel_size = kernel_size
        self.dropout = dropout
        self.pad_id = pad_id
        policy = self.dtype_policy
        self.embedding = TokenEmbedding(vocabulary_size, embedding_dim, pad_id=pad_id, name="embedding", dtype=policy)
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=policy)
        if architecture == "cnn":
            self.backbone = MaskedConv1D(units, kernel_size, name="convolution", dtype=policy)
            self.pooling = MaxPooling(name="pooling", dtype=policy)
        else:
            self.backbone = RecurrentStack(architecture, units, bidirectional=True, name="recurrent", dtype=policy)

    def call(self, characters, training=False):
        B, T, C = ops.shape(characters)
        tokens = ops.reshape(characters, (-1, C))  # (B, T, C) -> (B * T, C)
        real = ops.not_equal(tokens, self.pad_id)
        some = ops.any(real, axis=1, keepdims=True)  # (B * T, 1)
        # cuDNN does not support rows without a real step, and every padded batch has words without characters.
        mask = ops.logical_or(real, ops.logical_and(ops.logical_not(some), ops.arange(C, dtype="int32") == 0))
        x = self.dropout_layer(self.embedding(tokens), training=training)
        if self.architecture == "cnn":
            words = self.pooling(self.backbone(x, mask=mask), mask=mask)
        else:
            words = self.backbone(x, mask=mask, training=training)[1][-1][0]
        words = ops.where(some, words, ops.zeros_like(words))
        return ops.reshape(words, (B, T, self.units))  # (B * T, D) -> (B, T, D)

    def compute_output_shape(self, characters_shape):
        return (*characters_shape[:2], self.units)

    def compute_mask(self, characters, mask=None):
        return ops.any(ops.not_equal(characters, self.pad_id), axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "units": self.units,
            "architecture": self.architecture,
            "embedding_dim": self.embedding_dim,
            "kernel_size": self.kernel_size,
            "dropout": self.dropout,
            "pad_id": self.pad_id,
        }
