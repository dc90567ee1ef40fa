"""What an export is tried with: texts, and arrays."""

import numpy as np

SAMPLES = (
    "A man rides a horse.",
    "",
    " ",
    "four hundred and six",
    "🐎 🙂🙃 👩‍👩‍👧",  # emoji, one of them joined of several
    "Ψ ж 漢字 ﷽ \u200b\ufffd",  # characters of other scripts
    "a " * 2000,  # 2,000 words
)
LONG = 500  # characters; longer samples are tried alone, for they would make their whole batch long
ROWS, STEPS = 3, 37  # of arrays that are drawn


def strings(texts):
    """Texts as an array of bytes, which keeps them as they are."""
    array = np.empty(len(texts), object)
    array[:] = [text.encode() if isinstance(text, str) else bytes(text) for text in texts]
    return array


def short(texts):
    """Those that can travel together."""
    return [text for text in texts if len(text) <= LONG]


def text_batches(texts):
    """Each text alone, the short ones together, and no text at all."""
    return [strings([text]) for text in texts] + [strings(short(texts)), strings([])]


def array_batches(samples, specs):
    """Each sample alone, and all together, those of shorter ones padded with zeros: dicts of arrays by name.

    Args:
        samples: each a dict of arrays by name, without an axis for rows; or an array, where there is one input; or None
            to draw some by chance, floats that are normal and whole numbers that are 0 or 1.
        specs: of the inputs, by name.
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
