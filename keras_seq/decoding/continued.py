"""A language model behind `encode` and `decode`, so that whatever searches for translations also searches for it."""

from keras import ops


class Continued:
    """Takes the beginning of a text for a source and what follows it for the target: a model for `decoding.search`.

    The prompts of a batch may have different lengths. All but their last tokens are read at once; the first step gets
    each row's last token in place of the search's start token.

    Args:
        model: `initial_state(batch_size, max_length)` and `decode(tokens, state)`, as `models.LanguageModel` has them.
        pad_id: the id that marks padding.
    """

    def __init__(self, model, pad_id):
        self.model, self.pad_id = model, pad_id

    def encode(self, source, max_length):
        """Reads the prompts.

        Args:
            source: int `(B, P)`, padded on the right, P at least 2; every row has at least one token, a start token
                say.
            max_length: how many tokens may follow.
        Returns:
            the state of `decode`: a dict, in which "model" is the model's own state.
        """
        B, P = ops.shape(source)
        last = ops.sum(ops.cast(source != self.pad_id, "int32"), axis=1, keepdims=True) - 1  # (B, 1)
        before = ops.where(ops.arange(P)[None, :] == last, self.pad_id, source)
        _, state = self.model.decode(before, self.model.initial_state(B, P + max_length))
        return {"model": state, "last": ops.take_along_axis(source, last, axis=1), "steps": ops.zeros_like(last)}

    def decode(self, tokens, state):
        """Goes on by one token: int `(B, 1)`, state -> logits `(B, 1, V)`, state."""
        tokens = ops.where(state["steps"] == 0, state["last"], tokens)
        logits, inner = self.model.decode(tokens, state["model"])
        return logits, {"model": inner, "last": state["last"], "steps": state["steps"] + 1}
