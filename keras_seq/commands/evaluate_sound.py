"""Scores of transcripts, and reading of the recordings that a table lists."""

import pathlib
from typing import Any, NamedTuple

from keras_seq.commands.evaluate import Evaluate, Scores, column, failure_lines
from keras_seq.commands.search_options import search_options
from keras_seq.tasks.results import Failure

_FILE_NAMES = {"file", "path", "audio", "wav", "filename", "file_name", "recording"}  # usual names of the column


class Recordings(NamedTuple):
    """Waveforms `(samples,)`, and the text or the label of each."""

    waveforms: list[Any]
    texts: list[str]


def score_transcripts(options: Evaluate, task: Any) -> Scores:
    """Word error rate, character error rate and exact match of a recognizer."""
    from keras_seq import scores

    recordings = read_recordings(options, task)
    results = task.predictor(**search_options(options))(recordings.waveforms)
    texts = ["" if isinstance(result, Failure) else result.text for result in results]
    words = scores.word_error_rate(texts, recordings.texts)
    characters = scores.character_error_rate(texts, recordings.texts)
    exact = scores.exact_match(texts, recordings.texts)
    record = {"word_error_rate": words, "character_error_rate": characters, "exact_match": exact}
    count = sum(len(text.split()) for text in recordings.texts)
    rows = [("word error rate", f"{words:.2%}", f"{count:,} words")]
    rows += [("character error rate", f"{characters:.2%}", f"{sum(map(len, recordings.texts)):,} characters")]
    rows += [("exact match", f"{exact:.2%}", f"{len(texts):,} recordings")]
    return Scores({**record, "recordings": len(texts)}, rows, failure_lines(results, "recordings"))


def read_recordings(options: Evaluate, task: Any) -> Recordings:
    """Reads the recordings of tables, at the sampling rate of the model.

    A row of a table, .tsv or .csv, names a sound file, relative to the folder of the table, and its text or label.

    Raises:
        ValueError: for a row without both, or a file that cannot be read. The message names the line.
    """
    from keras_seq.tasks.transcription import RATE, sampling_rate

    rate = task.sampling_rate if hasattr(task, "sampling_rate") else sampling_rate(task.model)
    waveforms, texts = [], []
    for table in options.files:
        for place, path, text in _rows(table, options):
            waveforms.append(_waveform(path, rate or RATE, place))
            texts.append(text)
    return Recordings(waveforms, texts)


def _waveform(path: pathlib.Path, rate: int, place: str) -> Any:
    from keras_seq.data import read_audio

    try:
        return read_audio([path], rate, resample=True, mix_down=True).waveform(0)
    except (OSError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error


def _rows(table: pathlib.Path, options: Evaluate) -> list[tuple[str, pathlib.Path, str]]:
    """The place of each row in the table, its sound file and its text."""
    from keras_seq.data.table_rows import Problem, format_of, table_rows

    if table.is_dir() or format_of(table) == "jsonl":
        raise ValueError(f"{table} is not a .tsv or .csv table. Give one of sound files and texts: file, tab, text.")
    rows = list(table_rows(table, format_of(table), "error"))
    wanted = column(options.file_column), column(options.text_column or options.label_column or "1")
    places, first = _places(table, rows, wanted)
    result = []
    for line, fields in rows[first:]:
        if isinstance(fields, Problem) and fields.kind == "blank":
            continue
        if isinstance(fields, Problem) or len(fields) <= max(places):
            raise ValueError(f"{table}:{line}: a row must have a sound file and its text. Received: {fields!r:.80}")
        result.append((f"{table}:{line}", table.parent / fields[places[0]], fields[places[1]].strip()))
    if not result:
        raise ValueError(f"{table} has no row. Give one with a sound file and its text.")
    return result


def _places(table: pathlib.Path, rows: list, wanted: tuple) -> tuple[list[int], int]:
    """Numbers of the two columns, and the number of the first row after the header."""
    header = [name.strip() for name in rows[0][1]] if rows and isinstance(rows[0][1], list) else []
    missing = [name for name in wanted if isinstance(name, str) and name not in header]
    if missing:
        raise ValueError(f"{table}:1: no column is named {missing[0]!r}. The header has {', '.join(header)}.")
    places = [header.index(name) if isinstance(name, str) else name for name in wanted]
    named = any(isinstance(name, str) for name in wanted)
    usual = len(header) > places[0] and header[places[0]].lower() in _FILE_NAMES
    return places, int(named or usual)
