"""From files to padded batches, in steps that compose: `dataset.apply(shorter_than(100)).apply(bucketed(4096))`."""

from keras_seq.data.bucket_fitting import Bucket, fit_boundaries, fit_buckets
from keras_seq.data.bucketing import batch_sizes, bucketed, count_batches, even_boundaries
from keras_seq.data.lengths import lengths, padding, shorter_than
from keras_seq.data.order import shuffled
from keras_seq.data.parallel_text import ParallelText, Report, find_splits, parallel_text, read_parallel_text
from keras_seq.data.teacher_forcing import teacher_forcing

__all__ = [
    "Bucket",
    "ParallelText",
    "Report",
    "batch_sizes",
    "bucketed",
    "count_batches",
    "even_boundaries",
    "find_splits",
    "fit_boundaries",
    "fit_buckets",
    "lengths",
    "padding",
    "parallel_text",
    "read_parallel_text",
    "shorter_than",
    "shuffled",
    "teacher_forcing",
]
