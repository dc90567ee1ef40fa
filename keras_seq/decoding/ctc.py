"""Decoding of the frames of a CTC model to labelings."""

import numbers

from keras import ops

from keras_seq.decoding.protocol import Hypotheses, along

IMPOSSIBLE = -float("inf")


def ctc(logits, lengths, *, search="greedy", num_beams=16, num_return=1, blank_id=0) -> Hypotheses:
    """Decodes the predictions of a CTC model for each frame. The search is `keras.ops.ctc_decode`.

    An alignment assigns a label or the blank to each frame. Merging equal neighbors and then removing blanks gives a
    labeling. Its probability is the sum over all of its alignments: the `log_probs` of the result, the negative of
    `keras.losses.CTC`. There is no end token, and a labeling may be empty.

    Only the labelings of `ctc_decode` are used, not its scores. Those of the beam lack the alignments that were pruned,
    and those of the greedy search are negated sums of logits.

    Args:
        logits: float `(B, T, V)`, finite. Log-probabilities are equivalent.
        lengths: int `(B,)`, the number of real frames of each row. Later frames do not matter.
        search: "greedy" for the labeling of the likeliest alignment, "beam" for the likeliest labelings among the K
            prefixes kept at each frame.
        num_beams: K, for "beam". On JAX its memory and time grow with K V T.
        num_return: R, at most K and V (1 for "greedy").
        blank_id: id of the blank label, which also pads the results.
    Returns:
        `Hypotheses`, best first: `tokens (B, R, T)`, `lengths`, `log_probs`, `scores` `(B, R)`. `scores` are those of
        the search: log p of the likeliest alignment for "greedy", `log_probs` for "beam". If `log_probs` is -inf, the
        slot is empty.
    Raises:
        ValueError: for an option out of its range.
    Example:
        >>> logits = np.log(np.array([[[0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]]))  # label 1, blank, label 2
        >>> found = decoding.ctc(logits, [3])
        >>> np.array(found.tokens)[0, 0].tolist()[:2]
        [1, 2]
    Source: Graves et al. 2006, "Connectionist temporal classification", and Hannun et al. 2014, arXiv:1408.2873.
    """
    if len(logits.shape) != 3 or logits.shape[-1] is None:
        raise ValueError(f"`logits` must be (B, T, V) with V static. Received: shape {tuple(logits.shape)}")
    V = logits.shape[-1]
    if search not in ("greedy", "beam"):
        raise ValueError(f'`search` must be "greedy" or "beam". Received: {search!r}')
    most = 1 if search == "greedy" else min(num_beams, V)
    if not 1 <= num_return <= most:
        # One frame has only V labelings, and TensorFlow's search raises an error if it has too few.
        raise ValueError(
            f"`num_return` must be from 1 to {most}: one for a greedy search, at most `num_beams`={num_beams} and "
            f"the V={V} labels for a beam. Received: {num_return}"
        )
    if not isinstance(blank_id, numbers.Integral) or not 0 <= blank_id < V:
        raise ValueError(f"`blank_id` must be one of the V={V} labels. Received: {blank_id}")

    log_probs = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)  # (B, T, V)
    frames = ops.cast(lengths, "int32")  # (B,)
    B, T = ops.shape(log_probs)[0], ops.shape(log_probs)[1]
    # No search runs on zero frames: JAX's beam would read the first frame all the same, and TensorFlow's would have
    # nothing for a second slot.
    nothing = ops.expand_dims(frames < 1, 1)  # (B, 1)
    tokens, found = ops.ctc_decode(
        log_probs,
        ops.maximum(frames, 1),
        strategy="greedy" if search == "greedy" else "beam_search",
        beam_width=num_beams,
        top_paths=num_return,
        mask_index=blank_id,
    )
    R = num_return
    tokens = ops.reshape(ops.transpose(tokens, (1, 0, 2)), (B, R, T))  # (R, B, T), -1 after the labels
    tokens = ops.where(ops.expand_dims(nothing, 2), -1, tokens)
    label_lengths = ops.sum(ops.cast(tokens >= 0, "int32"), axis=2)  # (B, R)
    tokens = ops.where(tokens >= 0, tokens, blank_id)

    totals = -ops.ctc_loss(
        ops.reshape(tokens, (B * R, T)),
        ops.repeat(log_probs, R, axis=0),
        ops.reshape(label_lengths, (B * R,)),
        ops.repeat(frames, R, axis=0),
        mask_index=blank_id,
    )
    totals = ops.reshape(totals, (B, R))
    if search == "greedy":
        real = ops.expand_dims(ops.arange(T, dtype="int32"), 0) < ops.expand_dims(frames, 1)  # (B, T)
        best = ops.sum(ops.where(real, ops.max(log_probs, axis=-1), 0.0), axis=1, keepdims=True)
        return Hypotheses(tokens, label_lengths, ops.where(nothing, 0.0, totals), best)

    # If there are fewer labelings than slots, JAX fills the rest with arbitrary ones, at -inf.
    empty = ops.where(
        nothing, ops.expand_dims(ops.arange(R, dtype="int32"), 0) > 0, ops.reshape(found, (B, R)) == IMPOSSIBLE
    )
    totals = ops.where(empty, IMPOSSIBLE, ops.where(nothing, 0.0, totals))
    totals, order = ops.top_k(totals, R)
    tokens = along(tokens, order)
    empty = totals == IMPOSSIBLE
    return Hypotheses(
        tokens=ops.where(ops.expand_dims(empty, 2), blank_id, tokens),
        lengths=ops.where(empty, 0, along(label_lengths, order)),
        log_probs=totals,
        scores=totals,
    )
