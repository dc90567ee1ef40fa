"""Maps ids to vectors, and vectors to scores over the vocabulary."""

import keras
from keras import ops
from keras.src.backend.common import masking

from keras_seq import products
from keras_seq.deferred_logits import DeferredLogits


@keras.saving.register_keras_serializable("keras_seq")
class TokenEmbedding(keras.layers.ReversibleEmbedding):
    """Embeds ids, computes their mask, and scores the vocabulary with the same matrix (`reverse=True`).

    Differs from Keras's `ReversibleEmbedding` in three ways: the mask comes from `pad_id`, which may be any id,
    `scale=True` multiplies the embeddings by the square root of their width, as Transformers with tied weights do, and
    the scores are computed in the compute dtype (unless `reverse_dtype` is set), where Keras computes them in the
    variables' dtype, float32 in a mixed policy.

    Args:
        input_dim: size of the vocabulary.
        output_dim: width of the embeddings, D.
        pad_id: id of padding.
        scale: whether to multiply the embeddings by `sqrt(output_dim)`.
        kwargs: arguments of `keras.layers.ReversibleEmbedding`.
    Call arguments:
        inputs: int `(B, T)`, or float `(B, T, D)` with `reverse=True`.
    Returns:
        float `(B, T, D)`, with its mask, or logits `(B, T, V)`.
    Raises:
        ValueError: if `pad_id` is not an id, or if the ids are ragged.
    Example:
        >>> embed = layers.TokenEmbedding(100, 8)
        >>> x = embed(np.array([[5, 6, 0]]))
        >>> tuple(x.shape), np.array(embed.compute_mask(np.array([[5, 6, 0]]))).tolist()
        ((1, 3, 8), [[True, True, False]])
    Source: Press and Wolf 2017, arXiv:1608.05859; Vaswani et al. 2017, section 3.4, arXiv:1706.03762.
    """

    def __init__(self, input_dim, output_dim, pad_id=0, scale=False, embeddings_initializer=None, **kwargs):
        kwargs.pop("mask_zero", None)  # replaced by `pad_id`
        if not 0 <= pad_id < input_dim:
            raise ValueError(f"`pad_id` must be one of the ids, 0 to {input_dim - 1}. Received: {pad_id}")
        embeddings_initializer = embeddings_initializer or keras.initializers.RandomNormal(stddev=output_dim**-0.5)
        super().__init__(input_dim, output_dim, embeddings_initializer=embeddings_initializer, **kwargs)
        self.pad_id = pad_id
        self.scale = scale
        self.supports_masking = True

    def call(self, inputs, reverse=False, training=None):
        if hasattr(inputs, "row_splits"):
            raise ValueError(
                "Ids must be a dense tensor (B, T), padded with `pad_id`. Received a ragged tensor: pass "
                f"`ids.to_tensor({self.pad_id})`. For strings, or rows of any length, put a task around the model, "
                "such as `tasks.Classification(model, vocabulary, labels)`, and call that."
            )
        if reverse and products.in_bfloat16(training, self.reverse_dtype, self.input_dim * self.output_dim):
            kernel = self.embeddings if self.tie_weights else self.reverse_embeddings
            logits = products.rounded_matmul(inputs, kernel, transpose_b=self.tie_weights)
            cap = self.logit_soft_cap
            return logits if cap is None else cap * ops.tanh(logits / cap)
        outputs = super().call(inputs, reverse=reverse)
        if self.scale and not reverse:
            outputs = outputs * self.output_dim**0.5
        return outputs

    def deferred_logits(self, x, **options) -> DeferredLogits:
        """The logits of x `(B, T, D)`, with its mask, which a loss computes for some tokens at a time.

        Args:
            options: `chunk_size`, `num_sampled`, `training` and `correct`, see `DeferredLogits`.
        Raises:
            ValueError: if the layer has a `logit_soft_cap`.
        """
        if self.logit_soft_cap is not None:
            raise ValueError(
                "Capped logits are not deferred. Leave out the loss's `chunk_size` and `num_sampled`. Received: "
                f"logit_soft_cap={self.logit_soft_cap}"
            )
        kernel = self.embeddings if self.tie_weights else self.reverse_embeddings
        vectors = ops.cast(x, self.reverse_dtype)
        masking.set_keras_mask(vectors, masking.get_keras_mask(x))
        kernel = ops.cast(kernel, self.reverse_dtype)
        return DeferredLogits(vectors, kernel, transposed=self.tie_weights, **options)

    def compute_mask(self, inputs, mask=None):
        # Keras does not pass `reverse` here. Only a reverse call has float inputs, and it keeps their mask.
        if keras.backend.is_float_dtype(keras.backend.standardize_dtype(inputs.dtype)):
            return mask
        return ops.not_equal(inputs, self.pad_id)

    @property
    def reverse_dtype(self):
        """The dtype of the scores: the argument of this name, or else the compute dtype."""
        return self._reverse_dtype or self.compute_dtype

    @reverse_dtype.setter
    def reverse_dtype(self, dtype):
        self._reverse_dtype = dtype

    def get_config(self):
        config = super().get_config()
        del config["mask_zero"]
        return {**config, "reverse_dtype": self._reverse_dtype, "pad_id": self.pad_id, "scale": self.scale}
