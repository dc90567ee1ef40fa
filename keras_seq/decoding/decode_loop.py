"""Row by row decoding, one token after the other, with independent rows: greedy search and sampling."""

from keras import ops

from keras_seq.decoding.protocol import (
    IMPOSSIBLE,
    Hypotheses,
    Progress,
    StateNest,
    check_max_length,
    length_penalties,
    next_logits,
    size,
)


def decode_stepwise(
    step, state, choose, *, width, batch_size, max_length, start_id, end_id, pad_id, length_penalty, constraints
):
    """Runs the decoding loop: `choose` picks the next token of each row until its end token.

    Args:
        step: `step(tokens (N, 1), state) -> (logits (N, 1, V), state)`, N = B * R. Logits may be -inf.
        state: any nest of tensors with leading axis N and constant shapes.
        choose: `choose(logits (N, V), progress) -> (token, log_prob, scores)`, each `(N,)`: the next token, its log p,
            and the amount that it adds to the score, -inf if no token is possible any more.
        width: R, an int.
        batch_size: B, an int or a scalar tensor.
        max_length: T, the end token counted, an int, or a scalar tensor where the backend has dynamic shapes. A
            sequence without end token by then is returned as it is.
        start_id, end_id, pad_id: ints.
        length_penalty: divisor of the scores in the result, a function of the length (None: no divisor).
        constraints: constraints of the search. With any, `progress.tokens` in `choose` holds the tokens so far.
            Without, it is None.
    Returns:
        `Hypotheses` with R slots.
    Raises:
        ValueError: for a `max_length` below 1.
    """
    check_max_length(max_length)
    rows, T = size(batch_size) * width, size(max_length)
    nest = StateNest(state)
    positions = ops.arange(T, dtype="int32")
    sentence = ops.arange(rows, dtype="int32") // width

    def unfinished(t, last, log_probs, scores, lengths, done, tokens, tensors):
        return ops.logical_and(t < T, ops.logical_not(ops.all(done)))

    def body(t, last, log_probs, scores, lengths, done, tokens, tensors):
        logits, new_state = next_logits(step, last, nest.pack(tensors), end_id)  # (N, V)
        token, log_prob, gained = choose(logits, Progress(tokens if constraints else None, t, sentence, end_id))
        last = ops.where(done, pad_id, token)
        log_probs = ops.where(done, log_probs, log_probs + log_prob)
        scores = ops.where(done, scores, scores + gained)
        lengths = ops.where(done, lengths, t + 1)
        done = ops.logical_or(done, ops.logical_or(last == end_id, scores == IMPOSSIBLE))
        tokens = ops.where(positions == t, ops.expand_dims(last, 1), tokens)
        # Shapes are restated for loops over dynamic batches.
        flat = [ops.reshape(x, (rows,)) for x in (last, log_probs, scores, lengths, done)]
        return (t + 1, *flat, ops.reshape(tokens, (rows, T)), nest.unpack(new_state))

    start = (
        ops.convert_to_tensor(0, "int32"),
        ops.full((rows,), start_id, "int32"),
        ops.zeros((rows,), "float32"),
        ops.zeros((rows,), "float32"),
        ops.zeros((rows,), "int32"),
        ops.zeros((rows,), "bool"),
        ops.full((rows, T), pad_id, "int32"),
        nest.first,
    )
    _, _, log_probs, scores, lengths, _, tokens, _ = ops.while_loop(unfinished, body, start)
    return hypotheses(
        tokens, lengths, log_probs, scores, width=width, pad_id=pad_id, divisor=length_penalties(length_penalty, T)
    )


def hypotheses(tokens, lengths, log_probs, scores, *, width, pad_id, divisor=None) -> Hypotheses:
    """The results of rows, `tokens (N, T)` and the others `(N,)`, with an empty slot where nothing was possible.

    Args:
        width: R = N / B.
        divisor: `(T,)`, the divisor of the scores for each length (None: no divisor).
    """
    possible = ops.logical_and(scores > IMPOSSIBLE, lengths > 0)
    if divisor is not None:
        scores = scores / ops.take(divisor, ops.maximum(lengths, 1) - 1)
    found = Hypotheses(
        tokens=ops.where(ops.expand_dims(possible, 1), tokens, pad_id),
        lengths=ops.where(possible, lengths, 0),
        log_probs=ops.where(possible, log_probs, IMPOSSIBLE),
        scores=ops.where(possible, scores, IMPOSSIBLE),
    )
    return Hypotheses(*(ops.reshape(x, (-1, width, *ops.shape(x)[1:])) for x in found))  # (N, ...) -> (B, R, ...)
