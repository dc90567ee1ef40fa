"""A language model behind `encode` and `decode`, so that whatever searches for translations also searches for it."""

from keras import ops


class PromptedModel:
    """Takes the beginning of a text for a source and what follows it for the target: a model for `decoding.search`.

    The prompts of a batch may have different lengths. All but their last tokens are read at once; the first step gets
    each row's last token in place of the search's start token.

    Args:
        model: `initial_state(batch_size, max_length)` and `decode(tokens, state)`, as `models.LanguageModel` has them.
        pad_id: the id that marks padding.
    """

    def __init__(self, model, pad_id):
        self.model, self.pad_id = model, pad_id

    def encode(self, source, max_length=None, hidden_states=False):
        """Reads the prompts.

        Args:
            source: int `(B, P)`, padded on the right; every row has at least one token, a start token say.
            max_length: how many tokens may follow. None: the one `decode` that follows is given all of them.
            hidden_states: whether `decode` puts those of its steps into `state["hidden"]`, `(B, T, D)`; those of the
                prompt, but for its last token, are under "context". Needs `max_length`.
        Returns:
            the state of `decode`: a dict, in which "model" is the model's own state.
        """
        if max_length is None:
            return {"prompt": source}  # how much room is needed is not known yet
        # One more step, so that a prompt of a single token leaves a step of padding, and not a step without a mask.
        source = ops.pad(source, [[0, 0], [0, 1]], constant_values=self.pad_id)
        B, P = ops.shape(source)
        last = ops.sum(ops.cast(source != self.pad_id, "int32"), axis=1, keepdims=True) - 1  # (B, 1)
        before = ops.where(ops.arange(P, dtype="int32")[None, :] == last, self.pad_id, source)
        asked = {"hidden_states": True} if hidden_states else {}
        _, inner = self.model.decode(before, self.model.initial_state(B, P + max_length, **asked))
        state = {"model": inner, "last": ops.take_along_axis(source, last, axis=1), "steps": ops.zeros_like(last)}
        if hidden_states:
            state["context"] = {"hidden": inner["hidden"], "mask": ops.arange(P, dtype="int32")[None, :] < last}
            state["hidden"] = ops.zeros_like(inner["hidden"][:, :1])
            state["model"] = {**inner, "hidden": state["hidden"]}
        return state

    def decode(self, tokens, state):
        """Goes on by tokens, int `(B, T)`: -> logits `(B, T, V)`, state. The very first is the prompt's last one."""
        T = ops.shape(tokens)[1]
        if "prompt" in state:
            state = self.encode(state["prompt"], T)
        first = ops.where(state["steps"] == 0, state["last"], tokens[:, :1])
        tokens = ops.concatenate([first, tokens[:, 1:]], axis=1)
        logits, inner = self.model.decode(tokens, state["model"])
        state = {**state, "model": inner, "steps": state["steps"] + T}
        return logits, ({**state, "hidden": inner["hidden"]} if "hidden" in state else state)
