"""The run folder: what a training run leaves behind, and how it goes on after it was interrupted."""

from keras_seq.training.averaging import average_checkpoints
from keras_seq.training.checkpoints import Checkpoint, Checkpoints
from keras_seq.training.memory import keep_freed_memory
from keras_seq.training.resume import EarlyStopping, Resume
from keras_seq.training.run import Run, read_history, write_history

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "EarlyStopping",
    "Resume",
    "Run",
    "average_checkpoints",
    "keep_freed_memory",
    "read_history",
    "write_history",
]
