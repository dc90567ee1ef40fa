"""What all programs of `benchmarks.decoding` share: each decodes the same batches whenever it is told to.

Every program is a process of its own, in the environment of the library that it runs, so nothing but NumPy is imported
here. It reads what to do from standard input, a line of JSON each, and answers with one:

    {"num_beams": 5, "batch_size": 32}  ->  {"cpu": 12.3, "clock": 12.4, "sentences": 1000, "lengths": [20, 20], ...}
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

PAD, END = 0, 3  # as in `keras_seq.text`
FORBIDDEN = -1e4  # the score of the end token, in every program: nothing ever ends by itself


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sources", help="a file of JSON, a list of ids for each sentence, the end token in")
    parser.add_argument("--model", choices=("transformer", "lstm"))
    parser.add_argument("--vocabulary-size", type=int)
    parser.add_argument("--max-length", type=int, help="tokens of every hypothesis")
    parser.add_argument("--scratch", help="a folder that this program may write to")
    parser.add_argument("--variant", help="which of several ways, where a program has some")
    return parser.parse_args()


def serve(program: str, prepare: Callable) -> None:
    """Answers until standard input ends.

    Args:
        program: name and version, for the first line of output.
        prepare: `prepare(num_beams, options)` -> `decode(ids (B, S), lengths (B,)) -> [lengths of its hypotheses]`, for
            each sentence as many as there are beams, the end token not counted.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to standard error
    options = arguments()
    with open(options.sources) as file:
        sources = sorted(json.load(file), key=len)
    decoders, batches = {}, {}
    print(json.dumps({"program": program}), file=answers)
    for line in sys.stdin:
        order = json.loads(line)
        num_beams, batch_size = order["num_beams"], order["batch_size"]
        if num_beams not in decoders:
            decoders[num_beams] = prepare(num_beams, options)
        if batch_size not in batches:
            batches[batch_size] = list(_batches(sources, batch_size))
        found = []
        cpu, clock = time.process_time(), time.perf_counter()
        for ids, lengths in batches[batch_size][: order.get("batches")]:
            found.append(decoders[num_beams](ids, lengths))
        cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
        lengths = np.concatenate([np.asarray(each).reshape(len(each), -1) for each in found])  # (sentences, beams)
        answer = {"cpu": cpu, "clock": clock, "sentences": len(lengths), "hypotheses": lengths.shape[1]}
        print(json.dumps({**answer, "lengths": [int(lengths.min()), int(lengths.max())]}), file=answers)


def _batches(sources: list[list[int]], size: int):
    """Sentences of like length together, padded to the longest: the same batches for every program."""
    for first in range(0, len(sources), size):
        rows = sources[first : first + size]
        lengths = np.array([len(row) for row in rows], "int32")
        ids = np.full((len(rows), lengths.max()), PAD, "int32")
        for line, row in zip(ids, rows, strict=True):
            line[: len(row)] = row
        yield ids, lengths
