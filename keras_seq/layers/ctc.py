"""Frames that say a label or none, where the batch has padding."""

import keras
from keras import ops

# Excludes a label as minus infinity does, without a NaN where everything is excluded.
LOW = -1e9


@keras.saving.register_keras_serializable("keras_seq")
class BlankPadding(keras.layers.Layer):
    """Writes the padding into the logits of a CTC model: frames of padding say the blank, for certain.

    A labeling has the same probability with such frames as without them. So whoever gets the logits needs no lengths:
    `losses.CTCLoss` and `keras.losses.CTC`, `decoding.ctc` and `keras.ops.ctc_decode`, and a server.

    Args:
        blank_id: the label that is none.
    Call arguments:
        logits: float `(B, T, V)`.
        mask: bool `(B, T)`; True marks a real frame. Comes by itself with logits that carry a Keras mask.
    Returns:
        float32 `(B, T, V)` under any policy of less precision, in frames of padding 0 for the blank and `LOW` for the
        others. There is no mask any more: a loss of Keras would weigh frames by it.
    """

    def __init__(self, blank_id=0, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.blank_id = blank_id
        self.supports_masking = True

    def call(self, logits, mask=None):
        logits = ops.cast(logits, self.variable_dtype)  # the sums over many frames need its digits
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
