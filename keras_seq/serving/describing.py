"""What a server tells of a task."""

from typing import Any

OPTIONS = (
    *("search", "num_beams", "num_return", "length_penalty", "alpha", "early_stop", "num_groups", "diversity"),
    *("coverage_penalty", "temperature", "top_k", "top_p", "min_p", "seed", "max_length", "min_length", "end_within"),
    *("no_repeat", "repetition_penalty", "ban", "only"),
)
READS = {"translation": "text", "generation": "text", "tagging": "words", "transcription": "audio"}
READS |= {"forecasting": "series", "tensors": "tensors"}


def description(task: Any) -> dict[str, Any]:
    """The facts about a task that the server and its page need, for JSON.

    `reads` is the kind of its inputs: text, words (a text or a list of words), audio, series, array or tensors.
    `joins` tells whether requests may share a batch, `joins_widths` whether inputs of different widths may, `numbered`
    whether an input takes its number in the request.
    """
    reads = READS.get(task.name) or ("text" if task.rank is None else "array")
    searches = task.name in ("translation", "generation")
    saved = hasattr(task, "signatures_by_name")
    return {
        "task": task.name,
        "verb": task.verb,
        "reads": reads,
        "rank": task.rank,
        "options": _options(task, searches, saved),
        "joins": not (saved and searches and _draws(task)),
        # The room for a result of a search depends on the width of its batch. Of a SavedModel the widths are estimates.
        "joins_widths": reads in ("text", "words") and (saved or not searches),
        "numbered": searches and not saved and hasattr(task, "signatures"),
        "attention": bool(getattr(task.model, "has_attention", False)) and task.name == "translation",
        "streams": searches and _has_steps(task, saved),
        "vocabulary": _vocabulary(task),
        **_columns(task),
        "sampling_rate": task.sampling_rate if task.name == "transcription" else None,
    }


def _options(task: Any, searches: bool, saved: bool) -> list[str]:
    if task.name == "transcription":
        return [] if saved else ["search", "num_beams"]
    if not searches:
        return []
    if not saved:
        return list(getattr(task, "options", OPTIONS))
    signature = task.signatures_by_name.get(f"{task.verb}_with_options")
    return [] if signature is None else [name for name in signature.structured_input_signature[1] if name != "text"]


def _draws(task: Any) -> bool:
    """Whether a SavedModel samples: then a text depends on its place in the batch."""
    return bool({"seed", "temperature"} & set(_options(task, True, True)))


def _has_steps(task: Any, saved: bool) -> bool:
    from keras_seq.tasks.token_stream import NEEDED

    return set(NEEDED) <= set(task.signatures_by_name) if saved else hasattr(task, "signatures")


def _vocabulary(task: Any) -> str | None:
    """The kind of the source's vocabulary, by which the server estimates lengths."""
    vocabulary = getattr(task, "source_vocabulary", None) or getattr(task, "vocabulary", None)
    return None if vocabulary is None else type(vocabulary).__name__


def _columns(task: Any) -> dict[str, Any]:
    if task.name != "forecasting":
        return {}
    columns = task.columns
    names = {"columns": list(columns.columns), "targets": list(columns.targets)}
    return {
        **names,
        "look_back": int(columns.look_back),
        "horizon": int(columns.horizon),
        "quantiles": list(columns.quantiles),
    }
