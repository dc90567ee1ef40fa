"""The run folder: the files of a training run, and the means to resume an interrupted one."""

from keras_seq.training.averaging import Chosen, average_checkpoints, choose_weights
from keras_seq.training.budget import TrainingData
from keras_seq.training.checkpoints import Checkpoint, Checkpoints
from keras_seq.training.diagnosis import Diagnosis, diagnose
from keras_seq.training.failed_step import FailedStep, load_step, save_step
from keras_seq.training.gradient_monitor import GradientMonitor, NotFiniteError
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
    "Diagnosis",
    "EarlyStopping",
    "FailedStep",
    "GradientMonitor",
    "Initialized",
    "NotFiniteError",
    "Preemption",
    "Resume",
    "Run",
    "TrainingData",
    "average_checkpoints",
    "choose_weights",
    "config_differences",
    "diagnose",
    "initialize_from",
    "keep_freed_memory",
    "load_step",
    "read_config",
    "read_history",
    "read_metrics",
    "save_step",
    "atomic_write",
    "write_history",
    "write_json",
]
