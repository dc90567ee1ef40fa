"""The coverage penalty: how much of the source a hypothesis has attended to."""

from keras import ops


def covered(step, state, padding, weight):
    """Makes a step function accumulate its attention, for a search whose scores penalize omissions.

    Args:
        step: step function whose state has "attention", `(N, 1, S)`, the weights of the step.
        state: its initial state, a dict.
        padding: bool `(N, S)`, True for padding, which needs no attention.
        weight: weight of the penalty.
    Returns:
        `(step, state, bonus)`: the same with "coverage", `(N, S)`, in the state, and `bonus(state) -> (N,)`: the weight
        times the sum over the source of log(min(1, attention so far)), 0 at best.
    Source: Wu et al. 2016, equation 14, arXiv:1609.08144.
    """

    def counted(tokens, state):
        coverage = state["coverage"]
        logits, new = step(tokens, {name: part for name, part in state.items() if name != "coverage"})
        seen = ops.reshape(ops.cast(new["attention"], "float32"), ops.shape(coverage))  # (N, 1, S) -> (N, S)
        return logits, {**new, "coverage": coverage + seen}

    def bonus(state):
        # The logarithm of no attention at all would be minus infinity. The smallest float32 is bad enough.
        return weight * ops.sum(ops.log(ops.clip(state["coverage"], 1e-37, 1.0)), axis=1)

    return counted, {**state, "coverage": ops.cast(padding, "float32")}, bonus
