"""Classification around a model that stands in for a classifier."""

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import numpy as np
import tensorflow as tf

from keras_seq import tasks, text
from keras_seq.tasks import Classified
from keras_seq.tasks.batching import Limits
from keras_seq.tasks.classification import classifying, labels_of
from tests.tasks.stand_ins import STRINGS, Function, Model, described

QUESTIONS = {"digit": ["one", "two"], "speaker": ["Ada", "Bob", "Cem"]}


class Listener(Model):
    """Answers both questions by the mean of a recording: of both, the class with that number."""

    inputs = [keras.KerasTensor((None, None), name="waveform")]
    input, output = inputs[0], {name: keras.KerasTensor((None, len(of))) for name, of in QUESTIONS.items()}

    def __call__(self, x, training):
        number = tf.cast(tf.reduce_mean(x, axis=1), tf.int32)
        return {name: 9.0 * tf.one_hot(number, len(classes)) for name, classes in QUESTIONS.items()}


def test_several_questions():
    task = tasks.Classification(Listener(), None, QUESTIONS)
    classify = Function(task.signatures()["classify"].function, waveform=tf.TensorSpec([None, None]))
    zero, one = classifying(classify, Limits())([np.zeros(4), np.ones(6)])
    assert labels_of(zero) == {"digit": "one", "speaker": "Ada"}
    assert labels_of(one) == {"digit": "two", "speaker": "Bob"}
    likely = np.exp(9) / (np.exp(9) + 2)
    assert one["speaker"].probability == pytest.approx(likely, rel=1e-6)
    rest = pytest.approx((1 - likely) / 2, rel=1e-3)
    assert one["speaker"].probabilities == {"Ada": rest, "Bob": one["speaker"].probability, "Cem": rest}
    assert set(one["digit"].probabilities) == {"one", "two"} and isinstance(one["digit"], Classified)
    with pytest.raises(ValueError, match="A run folder can hold the labels of one question only."):
        task._save_parts(None)


def test_the_calls_by_which_classifiers_are_compared():
    task = tasks.Classification(Listener(), None, QUESTIONS)
    functions = {"classify": Function(waveform=tf.TensorSpec([None, None]))}
    calls = [("classify", {"waveform": shape}) for shape in ((1, 4), (1, 6), (2, 6))]
    assert described(task.calls(functions, [np.ones(4), np.ones(6)])) == calls
    task = tasks.Classification(Model(output=keras.KerasTensor((None, 1))), text.Words(["a"]), ["good"])
    calls = [("classify", {"text": batch}) for batch in ([b"a"], [b"a"], [])]
    assert described(task.calls({"classify": Function(text=STRINGS)}, ["a"])) == calls
