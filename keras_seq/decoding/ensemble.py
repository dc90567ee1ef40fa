"""Several models that decode as one."""

import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any

import keras
from keras import ops

from keras_seq.decoding.protocol import l2_normalize, normalized

AVERAGES = ("probability", "log_probability")


@keras.saving.register_keras_serializable("keras_seq")
class Ensemble(keras.Model):
    """Predicts each token by the mean of the predictions of several models of any architecture.

    The models share their vocabularies, and are all translators or all language models. They are trained separately,
    beforehand. The ensemble decodes wherever a model can, and as a Keras model it can be called, evaluated and saved. A
    step costs as much as the steps of all models together.

    Args:
        models: one or more models that decode, see `decoding.search` and `decoding.perplexity`.
        weights: weights of the models, positive numbers, which are divided by their sum (None: equal weights).
        average: kind of mean. "probability": p = sum w_i p_i. "log_probability": p is proportional to the product of
            the p_i ** w_i, so that a token is impossible if it is for one of the models.
    Call arguments:
        inputs: inputs of the models.
    Returns:
        logits, float32 `(B, T, V)`. For "probability" they are log p.
    Raises:
        ValueError: for models of both kinds or of different vocabularies, for weights that are not one positive number
            for each, and for an unknown `average`.
    Source: Sutskever et al. 2014, section 3.6, arXiv:1409.3215.
    """

    def __init__(
        self, models: Iterable, weights: Sequence[float] | None = None, average: str = "probability", **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.models = list(models)
        if not self.models:
            raise ValueError("`models` must hold at least one. Received: none")
        if average not in AVERAGES:
            raise ValueError(f"`average` must be one of {AVERAGES}. Received: {average!r}")
        kinds = {hasattr(model, "encode") for model in self.models}
        if len(kinds) > 1:
            raise ValueError("`models` must all translate, or all be language models. Received: some of each")
        self.translates = kinds.pop()
        self.average = average
        self.shares = _shares(weights, len(self.models))
        self.has_attention = any(_has_attention(model) for model in self.models)
        self.shares_memory = all(getattr(model, "shares_memory", False) for model in self.models)
        for name, value in _common(self.models).items():
            setattr(self, name, value)
        self.built = True  # because its models are

    def call(self, inputs, training=False):
        if not self.translates:
            return self.decode(inputs, None)[0]
        return self.decode(inputs["target"], self.encode(inputs["source"]))[0]

    # An ensemble has one of the next two, like its models. `encode` distinguishes a translator from a language model.

    @property
    def encode(self) -> Callable[..., dict[str, Any]]:
        """`encode(source, max_length=None, attention_weights=False, hidden_states=False) -> state`, for translators.

        Attention weights are the mean over the models with attention. Not all models need it. Hidden states are
        vectors such that the cosine between two of them is the mean of the models' cosines.
        """
        if not self.translates:
            raise AttributeError("An ensemble of language models has no `encode`")
        return self._encode

    @property
    def initial_state(self) -> Callable[..., dict[str, Any]]:
        """`initial_state(batch_size, max_length=None, hidden_states=False) -> state`, for language models."""
        if self.translates:
            raise AttributeError("An ensemble of translators has no `initial_state`")
        return self._initial_state

    def _encode(self, source, max_length=None, attention_weights=False, hidden_states=False):
        if attention_weights and not self.has_attention:
            raise ValueError("`attention_weights=True` needs a model with attention. Received: an ensemble without one")
        states = []
        for model in self.models:
            asked = {"attention_weights": True} if attention_weights and _has_attention(model) else {}
            asked |= {"hidden_states": True} if hidden_states else {}
            states.append(model.encode(source, max_length=max_length, **asked))
        return self._joined(states, attention_weights, hidden_states)

    def _initial_state(self, batch_size, max_length=None, hidden_states=False):
        asked = {"hidden_states": True} if hidden_states else {}
        states = [model.initial_state(batch_size, max_length, **asked) for model in self.models]
        return self._joined(states, False, hidden_states)

    def decode(self, tokens, state) -> tuple[Any, dict[str, Any]]:
        """Continues from `state` with the given tokens, one or many.

        Args:
            tokens: int `(B, T)`.
            state: result of `encode`, `initial_state` or an earlier `decode`. None, for language models: the tokens are
                the whole sequence.
        Returns:
            `(logits, state)`: float32 `(B, T, V)`, and the state after the last of the tokens.
        Raises:
            ValueError: if the models score different numbers of tokens.
        """
        state = {"members": [None] * len(self.models)} if state is None else state
        states = state["members"]
        if self.translates:
            states = [_with_memory(own, memory) for own, memory in zip(states, state["memory"], strict=True)]
        pairs = [model.decode(tokens, own) for model, own in zip(self.models, states, strict=True)]
        sizes = [logits.shape[-1] for logits, _ in pairs]
        if len(set(sizes)) > 1:
            raise ValueError(f"`models` must score the same number of tokens. Received: {', '.join(map(str, sizes))}")
        joined = self._joined([own for _, own in pairs], "attention" in state, "hidden" in state)
        return self._mean([logits for logits, _ in pairs]), joined

    def _joined(self, states, attention, hidden):
        """The models' states as one state, with the parts that never change during a search apart from the rest."""
        joined, pairs = {"members": states}, list(zip(self.shares, states, strict=True))
        if self.translates:
            joined["memory"] = [own.get("memory") for own in states]
            joined["members"] = [{name: part for name, part in own.items() if name != "memory"} for own in states]
        if attention:
            seen = [(share, own["attention"]) for share, own in pairs if "attention" in own]
            total = sum(share for share, _ in seen)
            joined["attention"] = sum(share / total * ops.cast(weights, "float32") for share, weights in seen)
        if hidden:
            parts = [share**0.5 * l2_normalize(own["hidden"]) for share, own in pairs]
            joined["hidden"] = ops.concatenate(parts, axis=-1)
        return joined

    def _mean(self, logits):
        """The mean of the models' logits, `(B, T, V)`."""
        pairs = [(share, ops.cast(x, "float32")) for share, x in zip(self.shares, logits, strict=True)]
        if self.average == "log_probability":
            # A softmax of each would subtract a constant from all tokens of a row, as the last softmax does anyway.
            return sum(share * x for share, x in pairs)
        return ops.logsumexp(ops.stack([math.log(share) + normalized(x) for share, x in pairs]), axis=0)

    def get_config(self):
        return {
            **super().get_config(),
            "models": [keras.saving.serialize_keras_object(model) for model in self.models],
            "weights": list(self.shares),
            "average": self.average,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "models": [keras.saving.deserialize_keras_object(model) for model in config["models"]]})


def _with_memory(state, memory):
    return state if memory is None else {**state, "memory": memory}


def _has_attention(model) -> bool:
    return getattr(model, "has_attention", False)


def _shares(weights, count: int) -> tuple[float, ...]:
    """The weights, positive numbers with the sum 1."""
    weights = [1.0] * count if weights is None else list(weights)
    if len(weights) != count or not all(isinstance(w, Real) and 0 < w < math.inf for w in weights):
        raise ValueError(f"`weights` must be {count} positive numbers, one for each model. Received: {weights}")
    return tuple(float(weight / sum(weights)) for weight in weights)


def _common(models) -> dict[str, int]:
    """The vocabulary sizes and padding id of the models, as far as they have them. These must agree."""
    told = {name: [getattr(model, name, None) for model in models] for name in ("vocabulary_size", "pad_id")}
    sources = told["source_vocabulary_size"] = [getattr(model, "source_vocabulary_size", None) for model in models]
    targets = [getattr(model, "target_vocabulary_size", None) for model in models]
    # A translator without a target vocabulary size has one vocabulary for both sides.
    told["target_vocabulary_size"] = [target or source for target, source in zip(targets, sources, strict=True)]
    common = {}
    for name, values in told.items():
        known = {value for value in values if value is not None}
        if len(known) > 1:
            raise ValueError(f"`models` must have the same `{name}`. Received: {', '.join(map(str, values))}")
        if known:
            common[name] = known.pop()
    return common
