"""SavedModels behind the verbs: their signatures on lines of any number and length."""

from collections.abc import Callable, Sequence

import numpy as np

from keras_seq.commands.model_files import Served
from keras_seq.commands.search_options import SearchOptions, given
from keras_seq.commands.searching import Limits, found, in_batches

BYTES_PER_TOKEN = 4  # roughly; a SavedModel keeps its vocabulary to itself


def texts_to_texts(
    opened: Served, verb: str, options: SearchOptions, limits: Limits, output: str = "text"
) -> Callable[[list], list]:
    """The function from texts to as many `Found` or `Failed`, by the signature that bears the name of the verb.

    Flags of the search that the SavedModel takes as inputs are given to it.

    Args:
        output: the one that has the texts.
    Raises:
        ValueError: if there is no such signature, or for a flag that is no input of it.
    """
    signature(opened, verb, {output, "score", "log_prob", "finished"})
    inputs = _options(opened, verb, options)

    def compute(texts):
        if inputs:  # by the function of the module: it knows, where the signature does not, what is left out
            results = getattr(opened.module, f"{verb}_with_options")(texts, **inputs)
        else:
            results = opened.signatures[verb](text=texts)
        names = (output, "score", "log_prob", "finished")
        columns = [results[name].numpy().reshape(len(texts), -1) for name in names]
        if output == "text":
            return [found(*row) for row in zip(*columns, strict=True)]
        owns, wholes = texts.numpy().tolist(), columns[0]
        columns[0] = [[whole[len(own) :] for whole in row] for own, row in zip(owns, wholes.tolist(), strict=True)]
        return [found(*row, own.decode()) for *row, own in zip(*columns, owns, strict=True)]

    return by_length(limits, compute)


def signature(opened: Served, verb: str, outputs: set[str], takes: str = "text") -> Callable:
    """The signature from strings, `takes`, that bears the name of the verb.

    Raises:
        ValueError: if there is none with these outputs.
    """
    import tensorflow as tf

    function = opened.signatures.get(verb)
    inputs = function.structured_input_signature[1] if function is not None else {}
    found = function.structured_outputs if function is not None else {}
    if set(inputs) != {takes} or inputs[takes].dtype != tf.string or not outputs <= set(found):
        raise ValueError(
            f"{opened.folder} has no signature `{verb}` from `{takes}` to {_listed(sorted(outputs))}, as "
            f"export.saved_model writes it. It has: {', '.join(sorted(opened.signatures)) or 'none'}. keras-seq "
            "inspect tells more."
        )
    return function


def _options(opened: Served, verb: str, options: SearchOptions) -> dict:
    """The flags of the search as inputs of the signature with options."""
    import tensorflow as tf

    from keras_seq.export.signatures import definitions

    wanted = {flag: flag.removeprefix("--").replace("-", "_") for flag in given(options)}
    name = f"{verb}_with_options"
    specs, defaults = {}, set()
    if name in opened.signatures and hasattr(opened.module, name):
        specs = opened.signatures[name].structured_input_signature[1]
        defaults = set(definitions(opened.folder)[name].defaults)
    takes = [f"--{other.replace('_', '-')}" for other in specs if other != "text"]
    refused = [flag for flag, option in wanted.items() if option not in specs]
    if refused:
        takes = f"It takes {', '.join(sorted(takes))}; leave the others" if takes else "Leave the flags of the search"
        raise ValueError(
            f"{', '.join(refused)}: {opened.folder} is a SavedModel, whose search is inside. {takes} out, or give the "
            "run folder."
        )
    needed = sorted(set(specs) - {"text"} - defaults - set(wanted.values())) if wanted else []
    if needed:
        flags = ", ".join(f"--{other.replace('_', '-')}" for other in needed)
        raise ValueError(f"{', '.join(wanted)}: {opened.folder} then needs {flags} too.")
    return {option: tf.constant(getattr(options, option), specs[option].dtype) for option in wanted.values()}


def by_length(limits: Limits, compute: Callable, lengths: Callable[[Sequence[str]], Sequence[int]] | None = None):
    """The function from texts to results that computes texts of like length together.

    Args:
        compute: from a string tensor of texts to a result for each.
        lengths: of texts in tokens; None: what they are about.
    """
    import tensorflow as tf

    def run(texts):
        def rows(numbers):
            return compute(tf.constant([texts[number].encode() for number in numbers], tf.string))

        return in_batches((lengths or _about)(texts), limits, rows)

    return run


def _about(texts: Sequence[str]) -> list[int]:
    return [max(len(text.split()), len(text.encode()) // BYTES_PER_TOKEN) + 1 for text in texts]


def _listed(names: Sequence[str]) -> str:
    names = [f"`{name}`" for name in names]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def strings(array: np.ndarray) -> list[str]:
    return [text.decode("utf-8", "replace") for text in array.tolist()]
