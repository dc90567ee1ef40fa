"""The run folder: the files of a training run, and the means to resume an interrupted one."""

from keras_seq.training.averaging import Chosen, average_checkpoints, choose_weights
from keras_seq.training.budget import TrainingData
from keras_seq.training.checkpoints import Checkpoint, Checkpoints
from keras_seq.training.initialize import Initialized, initialize_from
from keras_seq.training.memory import keep_freed_memory
from keras_seq.training.preemption import PREEMPTED, Preemption
from keras_seq.training.resume import EarlyStopping, Resume
from keras_seq.training.run_folder import (
    Run,
    atomic_write,
    config_differences,
    read_config,
    read_history,
    read_metrics,
    write_history,
    write_json,
)

__all__ = [
    "PREEMPTED",
    "Checkpoint",
    "Checkpoints",
    "Chosen",
    "EarlyStopping",
    "Initialized",
    "Preemption",
    "Resume",
    "Run",
    "TrainingData",
    "average_checkpoints",
    "choose_weights",
    "config_differences",
    "initialize_from",
    "keep_freed_memory",
    "read_config",
    "read_history",
    "read_metrics",
    "atomic_write",
    "write_history",
    "write_json",
]
