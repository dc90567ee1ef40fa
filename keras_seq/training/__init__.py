"""The run folder: what a training run leaves behind, and how it goes on after it was interrupted."""

from keras_seq.training.averaging import Chosen, average_checkpoints, choose_weights
from keras_seq.training.checkpoints import Checkpoint, Checkpoints
from keras_seq.training.initialise import Initialised, initialise_from
from keras_seq.training.memory import keep_freed_memory
from keras_seq.training.preemption import PREEMPTED, Preemption
from keras_seq.training.resume import EarlyStopping, Resume
from keras_seq.training.run import Run, read_config, read_history, read_metrics, replacing, write_history

__all__ = [
    "PREEMPTED",
    "Checkpoint",
    "Checkpoints",
    "Chosen",
    "EarlyStopping",
    "Initialised",
    "Preemption",
    "Resume",
    "Run",
    "average_checkpoints",
    "choose_weights",
    "initialise_from",
    "keep_freed_memory",
    "read_config",
    "read_history",
    "read_metrics",
    "replacing",
    "write_history",
]
