"""A language model behind `encode` and `decode`, so that searches for translations also work for it."""

from keras import ops


class PromptedModel:
    """A language model as a model for `decoding.search`: the prompt is the source, its continuation the target.

    The prompts of a batch may have different lengths. All but their last tokens are read at once. The first step
    receives each row's last token in place of the search's start token.

    Args:
        model: `initial_state(batch_size, max_length)` and `decode(tokens, state)`, as in `models.LanguageModel`.
        pad_id: id of the padding.
    """

    def __init__(self, model, pad_id):
        self.model, self.pad_id = model, pad_id

    def encode(self, source, max_length=None, hidden_states=False):
        """Reads the prompts.

        Args:
            source: int `(B, P)`, padded on the right. Every row has at least one token, such as a start token.
            max_length: number of tokens that may follow. None: the one `decode` that follows receives all of them.
            hidden_states: whether `decode` puts the hidden states of its steps into `state["hidden"]`, `(B, T, D)`.
                Those of the prompt, without its last token, are under "context". Needs `max_length`.
        Returns:
            the state for `decode`: a dict, with the state of the model under "model".
        """
        if max_length is None:
            return {"prompt": source}  # the number of steps is not determined yet
        # One more step: a prompt of a single token leaves a step of padding then, and not a step without a mask.
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
        """Continues with tokens, int `(B, T)` -> logits `(B, T, V)`, state. The very first is the prompt's last one."""
        T = ops.shape(tokens)[1]
        if "prompt" in state:
            state = self.encode(state["prompt"], T)
        first = ops.where(state["steps"] == 0, state["last"], tokens[:, :1])
        tokens = ops.concatenate([first, tokens[:, 1:]], axis=1)
        logits, inner = self.model.decode(tokens, state["model"])
        state = {**state, "model": inner, "steps": state["steps"] + T}
        return logits, ({**state, "hidden": inner["hidden"]} if "hidden" in state else state)
