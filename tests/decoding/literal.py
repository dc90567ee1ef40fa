"""What searches do, word for word, for one sentence, on lists of tokens: to compare with.

A rule is `rule(tokens, log_p)`: what the last of the tokens adds to the points, of which the model thinks `log_p`.
"""

import itertools
import math

from tests.decoding.models import END, START, next_context


def next_log_probs(table, tokens):
    """What a model (NUM_CONTEXTS, V) thinks of each token after these, float64 `(V,)`."""
    context, last = 0, START
    for token in tokens:
        context, last = next_context(context, last), token
    return table[next_context(context, last)]


def log_probs(table, tokens):
    """Of each token after those before it, which are gone through once."""
    context, last = 0, START
    for token in tokens:
        context, last = next_context(context, last), token
        yield table[context, token]


def log_p(table, tokens):
    return sum(log_probs(table, tokens))


def score(table, rule, penalty, tokens):
    gained = [rule(tokens[: i + 1], p) for i, p in enumerate(log_probs(table, tokens))]
    return divide(sum(gained), len(tokens), penalty)


def everything(vocabulary_size, max_length):
    """All sequences there are: those that end, and those of `max_length` tokens that do not."""
    others = [v for v in range(vocabulary_size) if v != END]
    for length in range(1, max_length + 1):
        for tokens in itertools.product(others, repeat=length - 1):
            yield [*tokens, END]
    for tokens in itertools.product(others, repeat=max_length):
        yield list(tokens)


def ranked(scored):
    """Pairs (tokens, score): the finished ones, best first, then the others; what cannot be is left out."""
    possible = [pair for pair in scored if pair[1] > -math.inf]
    return sorted(possible, key=lambda pair: (pair[0][-1] != END, -pair[1]))


def divide(points, length, penalty):
    return points / float(penalty(length)) if penalty else points


def best_first(candidates, num_beams):
    """Of candidates (beam, tokens, points) of a sentence the 2K that are kept, in the order they are chosen."""
    return sorted(candidates, key=lambda candidate: -candidate[2])[: 2 * num_beams]


def beam(table, rule, *, num_beams, max_length, penalty=None, num_return, early_stop="first", choose=best_first):
    """-> pairs (tokens, score)."""
    live, finished, done = [([], 0.0)], [], False
    for length in range(1, max_length + 1):
        if done:
            break
        candidates = []
        for number, (tokens, sum) in enumerate(live):
            for v, p in enumerate(next_log_probs(table, tokens)):
                gained = rule([*tokens, v], p) if p > -math.inf else p
                candidates += [(number, [*tokens, v], sum + gained)] if gained > -math.inf else []
        candidates = [(tokens, sum) for _, tokens, sum in choose(candidates, num_beams)]
        finished += [(t, divide(sum, length, penalty)) for t, sum in candidates[:num_beams] if t[-1] == END]
        finished.sort(key=lambda pair: -pair[1])
        live = [pair for pair in candidates if pair[0][-1] != END][:num_beams]
        if early_stop == "first":
            done = len(finished) >= num_beams or not live
        elif len(finished) >= num_return or not live:
            reach = [divide(sum, later, penalty) for _, sum in live for later in range(length + 1, max_length + 1)]
            done = all(score <= finished[num_return - 1][1] for score in reach)
    unfinished = [] if done else [(tokens, divide(sum, max_length, penalty)) for tokens, sum in live]
    return (finished + sorted(unfinished, key=lambda pair: -pair[1]))[:num_return]


def stepwise(table, rule, pick, max_length):
    """-> (tokens, points), each token being `pick(points of all tokens, step)`; None where none is possible."""
    tokens, total = [], 0.0
    for step in range(max_length):
        gained = [
            rule([*tokens, v], p) if p > -math.inf else p for v, p in enumerate(next_log_probs(table, tokens).tolist())
        ]
        if max(gained) == -math.inf:
            return None
        token = pick(gained, step)
        tokens, total = [*tokens, token], total + gained[token]
        if token == END:
            break
    return tokens, total
