"""Hyperparameter search with KerasTuner: trials at equal tokens or seconds, none of which is lost."""

try:
    import keras_tuner  # noqa: F401
except ImportError as error:
    raise ImportError('keras_seq.tuning needs KerasTuner: pip install "keras-seq[tuning]"') from error

from keras_seq.tuning.hypermodels import Budget, HyperModel, own_values
from keras_seq.tuning.records import Round, TrialRecord, best_of, read_trial, read_trials
from keras_seq.tuning.space import Parameter, Space
from keras_seq.tuning.stopping import MedianRule
from keras_seq.tuning.trial_watch import SearchError
from keras_seq.tuning.tuner import Tuner, find_objective

__all__ = [
    "Budget",
    "HyperModel",
    "MedianRule",
    "Parameter",
    "Round",
    "SearchError",
    "Space",
    "TrialRecord",
    "Tuner",
    "best_of",
    "find_objective",
    "own_values",
    "read_trial",
    "read_trials",
]
