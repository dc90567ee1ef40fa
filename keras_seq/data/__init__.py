"""From files to padded batches, in steps that compose: `dataset.apply(shorter_than(100)).apply(bucketed(4096))`."""

from keras_seq.data.audio import SOUND_SUFFIXES, Audio, AudioReport, BadSound, Sound, read_audio, resampled
from keras_seq.data.audio_concatenation import AudioAugmentation, concatenate_recordings
from keras_seq.data.autotune import without_autotune
from keras_seq.data.batch_plan import BatchPlan, batch_sizes, count_batches, even_boundaries, plan_batches
from keras_seq.data.bucket_fitting import Bucket, fit_boundaries, fit_buckets
from keras_seq.data.bucketing import Buckets, bucketed
from keras_seq.data.cache import cached, cached_lengths
from keras_seq.data.data_sets import DATA_SETS, Archive, DataSet, Source, data_home, fetch
from keras_seq.data.download import download, sha256_of, unpack
from keras_seq.data.fingerprint import fingerprint
from keras_seq.data.forecast_columns import ForecastColumns
from keras_seq.data.in_memory import InMemory
from keras_seq.data.keras_warnings import ignore_keras_warnings
from keras_seq.data.labeled_text import LabeledReport, LabeledText, folds, read_labeled_text
from keras_seq.data.lengths import SequenceAxes, lengths, longer_than, padding, shorter_than
from keras_seq.data.mixture import Mixture, mixture
from keras_seq.data.noise import Noise, local_swap, masking, span_masking, word_dropout
from keras_seq.data.pairs import read_pairs
from keras_seq.data.parallel_text import (
    ParallelFiles,
    ParallelReport,
    ParallelText,
    find_parallel_splits,
    parallel_text,
    read_parallel_text,
)
from keras_seq.data.rounds import Rounds
from keras_seq.data.series import Series, SeriesReport, read_series
from keras_seq.data.series_grid import future_timestamps, season
from keras_seq.data.shuffling import from_step, shuffled
from keras_seq.data.span_tags import mark_spans, spans
from keras_seq.data.splits import find_splits
from keras_seq.data.tags import CONLLU_COLUMNS, TaggedText, TagReport, conllu_words, read_tags
from keras_seq.data.teacher_forcing import teacher_forcing
from keras_seq.data.text import PlainText, TextReport, blocks, read_text, streams, token_ids
from keras_seq.data.token_counts import TokenCounts, count_tokens, token_unit
from keras_seq.data.vectors import Vectors, read_vectors
from keras_seq.data.video import Video, VideoReport, read_frames, read_video
from keras_seq.data.windows import Scaler, WindowReport, Windows, WindowSplits, calendar_features, usual_split, windows

__all__ = [
    "Archive",
    "Audio",
    "AudioReport",
    "BadSound",
    "BatchPlan",
    "Bucket",
    "Buckets",
    "CONLLU_COLUMNS",
    "DATA_SETS",
    "DataSet",
    "ForecastColumns",
    "InMemory",
    "LabeledReport",
    "LabeledText",
    "Mixture",
    "Noise",
    "ParallelFiles",
    "ParallelReport",
    "ParallelText",
    "PlainText",
    "Rounds",
    "SOUND_SUFFIXES",
    "Scaler",
    "SequenceAxes",
    "Series",
    "SeriesReport",
    "Source",
    "TagReport",
    "TaggedText",
    "TextReport",
    "TokenCounts",
    "AudioAugmentation",
    "Vectors",
    "Video",
    "VideoReport",
    "Sound",
    "WindowReport",
    "WindowSplits",
    "Windows",
    "batch_sizes",
    "blocks",
    "bucketed",
    "cached",
    "cached_lengths",
    "calendar_features",
    "conllu_words",
    "count_batches",
    "count_tokens",
    "data_home",
    "sha256_of",
    "download",
    "even_boundaries",
    "fetch",
    "find_splits",
    "find_parallel_splits",
    "fit_boundaries",
    "fingerprint",
    "fit_buckets",
    "folds",
    "future_timestamps",
    "from_step",
    "concatenate_recordings",
    "lengths",
    "mark_spans",
    "local_swap",
    "longer_than",
    "masking",
    "mixture",
    "padding",
    "parallel_text",
    "plan_batches",
    "read_audio",
    "read_frames",
    "read_labeled_text",
    "read_pairs",
    "read_parallel_text",
    "read_series",
    "read_tags",
    "read_text",
    "read_vectors",
    "read_video",
    "resampled",
    "shorter_than",
    "season",
    "shuffled",
    "span_masking",
    "spans",
    "streams",
    "teacher_forcing",
    "token_ids",
    "token_unit",
    "unpack",
    "without_autotune",
    "usual_split",
    "windows",
    "word_dropout",
]

ignore_keras_warnings()

_INSTEAD = {  # names of other libraries, and names that come to mind
    "BucketIterator": "bucketed",
    "bucket": "bucketed",
    "bucket_by_length": "bucketed",
    "bucket_by_sequence_length": "bucketed",
    "from_csv": "read_labeled_text, read_pairs or read_series",
    "load_text": "read_text",
    "pad_sequences": "bucketed, which pads each batch to its longest example",
    "read_classification": "read_labeled_text",
    "read_conllu": "read_tags",
    "read_csv": "read_labeled_text, read_pairs or read_series",
    "read_labelled_text": "read_labeled_text",
    "read_parallel": "read_parallel_text",
    "read_tsv": "read_labeled_text or read_pairs",
    "read_wav": "read_audio",
    "shuffle": "shuffled",
    "split": "folds, or find_splits for files",
    "timeseries_dataset_from_array": "windows",
    "window": "windows",
}


def __getattr__(name):
    advice = f". Use {_INSTEAD[name]}" if name in _INSTEAD else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{advice}")
