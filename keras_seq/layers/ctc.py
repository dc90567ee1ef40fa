"""Padding of per-frame logits."""

import keras
from keras import ops

# Excludes a label like minus infinity, but without NaN where every label is excluded.
LOW = -1e9


@keras.saving.register_keras_serializable("keras_seq")
class BlankPadding(keras.layers.Layer):
    """Encodes padding in the logits of a CTC model: padded frames predict the blank with certainty.

    Such frames do not change the probability of a labeling. So nothing that receives the logits needs lengths:
    `losses.CTCLoss`, `keras.losses.CTC`, `decoding.ctc`, `keras.ops.ctc_decode`, or a server.

    Args:
        blank_id: id of the blank label.
    Call arguments:
        logits: float `(B, T, V)`.
        mask: bool `(B, T)`. True marks a real frame. Defaults to the Keras mask of the logits.
    Returns:
        float32 `(B, T, V)` under any policy of less precision. Padded frames have 0 for the blank and `LOW` for the
        other labels. The mask is removed, since a Keras loss would weight frames by it.
    """

    def __init__(self, blank_id=0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.blank_id = blank_id
        self.supports_masking = True

    def call(self, logits, mask=None):
        logits = ops.cast(logits, self.variable_dtype)  # sums over many frames need its precision
        if mask is None:
            return logits
        blank = ops.where(ops.arange(logits.shape[-1], dtype="int32") == self.blank_id, 0.0, LOW)
        return ops.where(mask[:, :, None], logits, ops.cast(blank, logits.dtype))

    def compute_output_shape(self, logits_shape):
        return logits_shape

    def compute_output_spec(self, logits, mask=None):
        return keras.KerasTensor(logits.shape, self.variable_dtype)

    def compute_mask(self, logits, mask=None):
        return None

    def get_config(self):
        return {**super().get_config(), "blank_id": self.blank_id}
