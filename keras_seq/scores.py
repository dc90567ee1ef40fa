"""Scores of whole outputs: strings or spans in, numbers out."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Score(NamedTuple):
    """A score and the signature that says how it was computed, to be quoted with it."""

    value: float
    signature: str


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """The share of hypotheses that equal their reference, spaces at both ends ignored; a fraction.

    Raises:
        ValueError: if the two are empty or not of the same length.
    """
    _check(hypotheses, references)
    same = sum(ours.strip() == theirs.strip() for ours, theirs in zip(hypotheses, references, strict=True))
    return same / len(hypotheses)


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Words put in, left out or taken for others, of all texts together, by the number of words that were said.

    By jiwer: the fewest that turn the references into the hypotheses; a fraction, above 1 where much is made up. Words
    are what white space separates. Where nothing at all was said, each word heard counts as one of one.

    Raises:
        ValueError: if the two are empty or not of the same length.
        ImportError: if jiwer is not installed.
    Source: Levenshtein 1966; Morris et al. 2004, "From WER and RIL to MER and WIL".
    """
    _check(hypotheses, references)
    hypotheses, references = ([" ".join(text.split()) for text in texts] for texts in (hypotheses, references))
    found = _jiwer().process_words(references, hypotheses)
    said = found.hits + found.substitutions + found.deletions
    return (found.substitutions + found.deletions + found.insertions) / max(1, said)


def character_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """The word error rate's counterpart on characters, by jiwer; a fraction. Runs of white space count as one space.

    Raises:
        ValueError: if the two are empty or not of the same length.
        ImportError: if jiwer is not installed.
    Source: Morris et al. 2004, "From WER and RIL to MER and WIL".
    """
    _check(hypotheses, references)
    hypotheses, references = ([" ".join(text.split()) for text in texts] for texts in (hypotheses, references))
    edits = _jiwer().process_characters(references, hypotheses)
    length = edits.hits + edits.substitutions + edits.deletions
    return (edits.substitutions + edits.deletions + edits.insertions) / max(1, length)


def accuracy(hypotheses: Sequence[Hashable], references: Sequence[Hashable]) -> float:
    """The share of predicted classes that equal their reference; a fraction.

    Raises:
        ValueError: if the two are empty or not of the same length.
    """
    _check(hypotheses, references)
    return sum(ours == theirs for ours, theirs in zip(hypotheses, references, strict=True)) / len(references)


def macro_f1(hypotheses: Sequence[Hashable], references: Sequence[Hashable], labels: Sequence[Hashable]) -> float:
    """The unweighted mean of the classes' F1 scores; a fraction.

        F1(c) = 2 x right(c) / (predicted(c) + true(c))

    A class that is neither predicted nor true has F1 0, as in `keras.metrics.F1Score`.

    Args:
        labels: all classes.
    Raises:
        ValueError: if the two are empty or not of the same length.
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
        labels: the classes of the rows and columns, in their order. Pairs with another class are left out.
    Raises:
        ValueError: if the two are empty or not of the same length.
    """
    _check(hypotheses, references)
    counts = Counter(zip(references, hypotheses, strict=True))
    return [[counts[true, predicted] for predicted in labels] for true in labels]


def bleu(hypotheses: Sequence[str], references: Sequence[str], tokenize: str = "13a", lowercase: bool = False) -> Score:
    """Corpus BLEU by sacreBLEU, 0 to 100.

    Args:
        hypotheses, references: detokenized lines, one reference each; with `tokenize="none"`, tokenized ones.
        tokenize: sacreBLEU's tokenizer: "13a", "none", "intl", "char", "zh", ...
        lowercase: compare without case.
    Raises:
        ValueError: if the two are empty or not of the same length, and if what the tokenizer needs is not installed.
        ImportError: if sacreBLEU is not installed.
    Source: Post 2018, arXiv:1804.08771.
    """
    sacrebleu = _sacrebleu()
    try:
        metric = sacrebleu.BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    except (ImportError, RuntimeError, OSError) as error:  # a package or a file that is not here
        packages = {"ja-mecab": "sacrebleu[ja]", "ko-mecab": "sacrebleu[ko]"}
        remedy = (
            f'pip install "{packages[tokenize]}"' if tokenize in packages else "it is a download: is there internet?"
        )
        raise ValueError(
            f"sacreBLEU's tokenizer {tokenize!r} cannot be had ({error}). To install it: {remedy}"
        ) from error
    return _score(metric, hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus chrF2 by sacreBLEU, 0 to 100: an F-score of character n-grams, which needs no tokenization.

    Raises:
        ValueError: if the two are empty or not of the same length.
        ImportError: if sacreBLEU is not installed.
    Source: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation".
    """
    return _score(_sacrebleu().CHRF(), hypotheses, references)


class SpanScore(NamedTuple):
    """Precision, recall and their harmonic mean, fractions; and the numbers of spans that they come from."""

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
    """How many of the spans found are right, and how many of the right ones are found, over all sentences.

    A span is right where begin, end and type all are: the score of conlleval, by which the CoNLL tasks are judged.

    Args:
        hypotheses, references: of each sentence its spans (begin, end, type), as `data.spans` reads them from tags.
        kind: the one type that counts; None: all of them.
    Raises:
        ValueError: if the two are empty or not of the same length.
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
        raise TypeError("Hypotheses and references are lists, with one for each example. Received one string.")
    if len(hypotheses) != len(references) or not len(hypotheses):
        raise ValueError(
            "There must be as many references as hypotheses, and at least one. "
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
