"""Samples for trying an export: texts and arrays."""

import numpy as np

SAMPLES = (
    "A man rides a horse.",
    "",
    " ",
    "four hundred and six",
    "🐎 🙂🙃 👩‍👩‍👧",  # emoji, one of them joined from several
    "Ψ ж 漢字 ﷽ \u200b\ufffd",  # characters of other scripts
    "a " * 2000,  # 2,000 words
)
LONG = 500  # characters. Longer samples are tried alone, because they would make a whole batch long
ROWS, STEPS = 3, 37  # size of randomly drawn arrays


def strings(texts):
    """Texts as an array of bytes, which keeps them unchanged."""
    array = np.empty(len(texts), object)
    array[:] = [text.encode() if isinstance(text, str) else bytes(text) for text in texts]
    return array


def short(texts):
    """The texts that are short enough to share a batch."""
    return [text for text in texts if len(text) <= LONG]


def text_batches(texts):
    """Batches with each text alone, with all short texts, and with no text."""
    return [strings([text]) for text in texts] + [strings(short(texts)), strings([])]


def array_batches(samples, specs):
    """Batches with each sample alone and with all samples, padded with zeros: dicts of arrays by name.

    Args:
        samples: samples without a batch axis, each a dict of arrays by name, or an array for a single input. None to
            draw them at random: normal floats, and whole numbers 0 or 1.
        specs: specs of the inputs, by name.
    """
    if samples is None:
        samples = _drawn(specs)
    samples = [x if isinstance(x, dict) else dict.fromkeys(specs, x) for x in samples]
    rows = [{name: _array(x, specs[name])[None] for name, x in row.items()} for row in samples]
    together = {name: _joined([row[name] for row in rows]) for name in specs}
    return [*rows, together]


def _array(x, spec):
    x = np.asarray(x, spec.dtype.as_numpy_dtype)
    return strings(x.ravel()).reshape(x.shape) if x.dtype == object else x


def _drawn(specs):
    random, samples = np.random.default_rng(0), []
    for row in range(ROWS):
        sample = {}
        for name, spec in specs.items():
            shape = [STEPS - row if size is None else size for size in spec.shape[1:]]
            numbers = random.normal(size=shape) if spec.dtype.is_floating else random.integers(0, 2, shape)
            sample[name] = numbers.astype(spec.dtype.as_numpy_dtype)
        samples.append(sample)
    return samples


def _joined(rows):
    shape = np.max([row.shape for row in rows], axis=0)
    joined = np.full((len(rows), *shape[1:]), b"" if rows[0].dtype == object else 0, rows[0].dtype)
    for number, row in enumerate(rows):
        joined[(number, *(slice(size) for size in row.shape[1:]))] = row[0]
    return joined
