"""Greedy search: the likeliest token, again and again."""

from keras import ops

from keras_seq.decoding.step import Hypotheses, StateNest, check_options, divisors, next_logits, size


def greedy_search(step, state, *, batch_size, max_length, start_id, end_id, pad_id, length_penalty=None):
    """Decodes the likeliest next token until the end token: `beam_search` with one beam, without its bookkeeping.

    Args:
        step: `step(tokens (B, 1), state) -> (logits (B, 1, V), state)`; logits may be -inf.
        state: any nest of tensors, leading axis B, of shapes that stay.
        batch_size: B, an int or a scalar tensor.
        max_length: T, the end token counted; an int, or a scalar tensor where the backend has dynamic shapes.
            A sequence without end token by then is returned as it is.
        start_id, end_id, pad_id: ints.
        length_penalty: divides log p in `scores`; it changes no token. None divides by nothing.
    Returns:
        `Hypotheses` with R = 1.
    Raises:
        ValueError: for a `max_length` below 1, or a `length_penalty` that is not callable.
    """
    check_options(max_length, length_penalty)
    batch_size, max_length = size(batch_size), size(max_length)
    nest = StateNest(state)
    positions = ops.arange(max_length)  # (T,)
    shape = (batch_size, max_length)

    def unfinished(t, last, log_probs, lengths, done, tokens, tensors):
        return ops.logical_and(t < max_length, ops.logical_not(ops.all(done)))

    def body(t, last, log_probs, lengths, done, tokens, tensors):
        logits, new_state = next_logits(step, last, nest.pack(tensors), end_id)  # (B, V)
        best = ops.max(logits, axis=1)
        # Where nothing is possible any more the sequence is impossible, not NaN.
        gained = ops.where(best > -float("inf"), best - ops.logsumexp(logits, axis=1), -float("inf"))
        last = ops.where(done, pad_id, ops.cast(ops.argmax(logits, axis=1), "int32"))
        log_probs = ops.where(done, log_probs, log_probs + gained)
        lengths = ops.where(done, lengths, t + 1)
        done = ops.logical_or(done, ops.logical_or(last == end_id, log_probs == -float("inf")))
        tokens = ops.where(positions == t, ops.expand_dims(last, 1), tokens)
        # Shapes are restated for loops over dynamic batches.
        rows = [ops.reshape(x, (batch_size,)) for x in (last, log_probs, lengths, done)]
        return (t + 1, *rows, ops.reshape(tokens, shape), nest.unpack(new_state))

    start = (
        ops.convert_to_tensor(0, "int32"),
        ops.full((batch_size,), start_id, "int32"),
        ops.zeros((batch_size,), "float32"),
        ops.zeros((batch_size,), "int32"),
        ops.zeros((batch_size,), "bool"),
        ops.full(shape, pad_id, "int32"),
        nest.first,
    )
    _, _, log_probs, lengths, _, tokens, _ = ops.while_loop(unfinished, body, start)
    possible = ops.logical_and(log_probs > -float("inf"), lengths > 0)
    divisor = ops.take(divisors(length_penalty, max_length), ops.maximum(lengths, 1) - 1)
    found = Hypotheses(
        tokens=ops.where(ops.expand_dims(possible, 1), tokens, pad_id),
        lengths=ops.where(possible, lengths, 0),
        log_probs=ops.where(possible, log_probs, -float("inf")),
        scores=ops.where(possible, log_probs / divisor, -float("inf")),
    )
    return Hypotheses(*(ops.expand_dims(x, 1) for x in found))  # (B, ...) -> (B, 1, ...)
