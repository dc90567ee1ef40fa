"""Scores of whole outputs, as functions from strings or spans to numbers."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple


class Score(NamedTuple):
    """A score, and a signature that describes its computation, to be quoted with it."""

    value: float
    signature: str


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """The share of hypotheses that equal their reference, spaces at both ends ignored, as a fraction.

    Raises:
        ValueError: if the two are empty or differ in length.
    Example:
        >>> scores.exact_match(["drei", "vier "], ["drei", "fünf"])
        0.5
    """
    _check(hypotheses, references)
    same = sum(ours.strip() == theirs.strip() for ours, theirs in zip(hypotheses, references, strict=True))
    return same / len(hypotheses)


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Word error rate over all texts: insertions, deletions and substitutions divided by the number of reference words.

    Computed by jiwer, with the fewest edits that turn the references into the hypotheses. A fraction, above 1 with many
    insertions. Words are separated by white space. If all references are empty, the number of reference words counts as
    one.

    Raises:
        ValueError: if the two are empty or differ in length.
        ImportError: if jiwer is not installed.
    Example:
        >>> scores.word_error_rate(["one two four"], ["one two three four"])  # one of four words is missing
        0.25
    Source: Levenshtein 1966; Morris et al. 2004, "From WER and RIL to MER and WIL".
    """
    _check(hypotheses, references)
    hypotheses, references = ([" ".join(text.split()) for text in texts] for texts in (hypotheses, references))
    found = _jiwer().process_words(references, hypotheses)
    said = found.hits + found.substitutions + found.deletions
    return (found.substitutions + found.deletions + found.insertions) / max(1, said)


def character_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Character error rate, by jiwer, as a fraction. Runs of white space count as one space.

    Raises:
        ValueError: if the two are empty or differ in length.
        ImportError: if jiwer is not installed.
    Example:
        >>> scores.character_error_rate(["cut"], ["cats"])  # u for a, and no s
        0.5
    Source: Morris et al. 2004, "From WER and RIL to MER and WIL".
    """
    _check(hypotheses, references)
    hypotheses, references = ([" ".join(text.split()) for text in texts] for texts in (hypotheses, references))
    edits = _jiwer().process_characters(references, hypotheses)
    length = edits.hits + edits.substitutions + edits.deletions
    return (edits.substitutions + edits.deletions + edits.insertions) / max(1, length)


def accuracy(hypotheses: Sequence[Hashable], references: Sequence[Hashable]) -> float:
    """The share of predicted classes that equal their references, as a fraction.

    Raises:
        ValueError: if the two are empty or differ in length.
    Example:
        >>> scores.accuracy(["good", "bad"], ["good", "good"])
        0.5
    """
    _check(hypotheses, references)
    return sum(ours == theirs for ours, theirs in zip(hypotheses, references, strict=True)) / len(references)


def macro_f1(hypotheses: Sequence[Hashable], references: Sequence[Hashable], labels: Sequence[Hashable]) -> float:
    """The unweighted mean of the classes' F1 scores, as a fraction.

        F1(c) = 2 x right(c) / (predicted(c) + true(c))

    A class that is neither predicted nor true has F1 0, as in `keras.metrics.F1Score`.

    Args:
        labels: all classes.
    Raises:
        ValueError: if the two are empty or differ in length.
    Example:
        >>> print(f"{scores.macro_f1(['a', 'a', 'b'], ['a', 'b', 'b'], ['a', 'b']):.4f}")
        0.6667
    """
    _check(hypotheses, references)
    right = Counter(ours for ours, theirs in zip(hypotheses, references, strict=True) if ours == theirs)
    predicted, true = Counter(hypotheses), Counter(references)
    return sum(2 * right[label] / max(1, predicted[label] + true[label]) for label in labels) / len(labels)


def confusions(
    hypotheses: Sequence[Hashable], references: Sequence[Hashable], labels: Sequence[Hashable]
) -> list[list[int]]:
    """Counts of (true, predicted) pairs: a row for each true class, a column for each predicted one.

    Args:
        labels: classes of the rows and columns, in their order. Pairs with other classes are left out.
    Raises:
        ValueError: if the two are empty or differ in length.
    Example:
        >>> scores.confusions(["a", "a", "b"], ["a", "b", "b"], ["a", "b"])
        [[1, 0], [1, 1]]
    """
    _check(hypotheses, references)
    counts = Counter(zip(references, hypotheses, strict=True))
    return [[counts[true, predicted] for predicted in labels] for true in labels]


def bleu(hypotheses: Sequence[str], references: Sequence[str], tokenize: str = "13a", lowercase: bool = False) -> Score:
    """Corpus BLEU by sacreBLEU, 0 to 100.

    Args:
        hypotheses, references: detokenized lines, one reference each. With `tokenize="none"`, tokenized lines.
        tokenize: tokenizer of sacreBLEU: "13a", "none", "intl", "char", "zh", ...
        lowercase: whether to ignore case.
    Raises:
        ValueError: if the two are empty or differ in length, or if a requirement of the tokenizer is not installed.
        ImportError: if sacreBLEU is not installed.
    Example:
        >>> score = scores.bleu(["the cat sat on a mat"], ["the cat sat on the mat"])
        >>> print(f"{score.value:.2f}")
        53.73
    Source: Post 2018, arXiv:1804.08771.
    """
    return _score(_bleu(tokenize=tokenize, lowercase=lowercase), hypotheses, references)


def tokenizer(name: str) -> Callable[[str], str]:
    """A tokenizer of sacreBLEU: from a line to its tokens, separated by spaces.

    Text that was tokenized by it has the BLEU of `tokenize="none"`.

    Args:
        name: "13a", "intl", "char", ...
    Raises:
        ValueError: if the name is unknown, or a requirement of the tokenizer is not installed.
        ImportError: if sacreBLEU is not installed.
    Example:
        >>> scores.tokenizer("13a")("Well, it is.")
        'Well , it is .'
    """
    return _bleu(tokenize=name).tokenizer


def _bleu(tokenize: str, lowercase: bool = False):
    sacrebleu = _sacrebleu()
    if tokenize not in sacrebleu.BLEU.TOKENIZERS:
        names = ", ".join(sorted(sacrebleu.BLEU.TOKENIZERS))
        raise ValueError(f"sacreBLEU has no tokenizer {tokenize!r}. It has {names}")
    try:
        return sacrebleu.BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    except (ImportError, RuntimeError, OSError) as error:  # a missing package or file
        packages = {"ja-mecab": "sacrebleu[ja]", "ko-mecab": "sacrebleu[ko]"}
        remedy = (
            f'pip install "{packages[tokenize]}"' if tokenize in packages else "it is downloaded, which needs internet"
        )
        raise ValueError(
            f"sacreBLEU's tokenizer {tokenize!r} is not available ({error}). To install it: {remedy}"
        ) from error


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus chrF2 by sacreBLEU, 0 to 100: an F-score of character n-grams, which needs no tokenization.

    Raises:
        ValueError: if the two are empty or differ in length.
        ImportError: if sacreBLEU is not installed.
    Example:
        >>> scores.chrf(["the cat"], ["the cat"]).value
        100.0
    Source: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation".
    """
    return _score(_sacrebleu().CHRF(), hypotheses, references)


class SpanScore(NamedTuple):
    """Precision, recall and their harmonic mean, as fractions, and the numbers of spans behind them."""

    precision: float
    recall: float
    f1: float
    found: int
    true: int
    right: int


def span_f1(
    hypotheses: Sequence[Sequence[tuple[int, int, str]]],
    references: Sequence[Sequence[tuple[int, int, str]]],
    kind: str | None = None,
) -> SpanScore:
    """Precision, recall and F1 of spans, over all sentences.

    A span is right if its begin, end and type are. This is the score of conlleval, used for the CoNLL tasks.

    Args:
        hypotheses, references: spans (begin, end, type) of each sentence, as `data.spans` reads them from tags.
        kind: the one type that counts (None: all types).
    Raises:
        ValueError: if the two are empty or differ in length.
    Example:
        >>> found = scores.span_f1([[(0, 2, "PER"), (4, 5, "LOC")]], [[(0, 2, "PER")]])
        >>> print(f"precision {found.precision}, recall {found.recall}, F1 {found.f1:.3f}")
        precision 0.5, recall 1.0, F1 0.667
    Source: Tjong Kim Sang and Buchholz 2000, section 5, aclanthology.org/W00-0726.
    """
    _check(hypotheses, references)
    found = true = right = 0
    for ours, theirs in zip(hypotheses, references, strict=True):
        ours, theirs = ({span for span in side if kind in (None, span[2])} for side in (ours, theirs))
        found, true, right = found + len(ours), true + len(theirs), right + len(ours & theirs)
    precision, recall = right / max(found, 1), right / max(true, 1)
    return SpanScore(precision, recall, 2 * right / max(found + true, 1), found, true, right)


def _score(metric, hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    _check(hypotheses, references)
    value = metric.corpus_score(list(hypotheses), [list(references)]).score
    return Score(float(value), str(metric.get_signature()))


def _check(hypotheses: Sequence, references: Sequence) -> None:
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise TypeError("Hypotheses and references must be lists, with one for each example. Received one string.")
    if len(hypotheses) != len(references) or not len(hypotheses):
        raise ValueError(
            "The numbers of hypotheses and references must be equal, and at least one. "
            f"Received: {len(hypotheses)} hypotheses, {len(references)} references"
        )


def _sacrebleu():
    try:
        import sacrebleu.metrics
    except ImportError:
        raise ImportError('BLEU and chrF need sacreBLEU: pip install "keras-seq[recipes]"') from None
    return sacrebleu.metrics


def _jiwer():
    try:
        import jiwer
    except ImportError:
        raise ImportError('Word error rates need jiwer: pip install "keras-seq[recipes]"') from None
    return jiwer
