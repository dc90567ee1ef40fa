"""What loads a task, around models that stand in for those of a folder."""

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

from keras_seq import tasks, text
from keras_seq.tasks import loading
from tests.tasks.stand_ins import Model

WORDS = text.Words(["red", "blue"])


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ({"encode": print}, tasks.Translation),
        ({"encode": print, "source_front_end": print}, tasks.Transcription),
        ({"initial_state": print}, tasks.Generation),
    ],
)
def test_the_task_of_a_model(model, kind):
    task = tasks.find_task(Model(**model), WORDS, max_length=3)
    assert type(task) is kind and task.vocabulary is WORDS and task.max_length == 3


def test_a_model_of_no_task():
    with pytest.raises(ValueError, match="A Model neither translates nor continues texts. Choose its task from"):
        tasks.find_task(Model(), WORDS)


def test_several_models_have_a_search(monkeypatch):
    loaded = {
        "a": tasks.Translation(Model(encode=print), WORDS),
        "b": tasks.Tensors(Model()),
        "c": tasks.Translation(Model(encode=print), WORDS),
    }
    monkeypatch.setattr(loading, "load_run", lambda path, what: loaded[str(path)])
    monkeypatch.setattr(loading, "together", lambda members, weights: (members, weights))
    assert tasks.load(["a", "c"], [1, 2]) == ([loaded["a"], loaded["c"]], [1, 2])
    with pytest.raises(ValueError, match="Model is a task of tensors. Only tasks with a search take several models."):
        tasks.load(["a", "b"])
    with pytest.raises(ValueError, match="Name at least one run folder or SavedModel. Received: none"):
        tasks.load([])


def test_all_names_are_listed():
    assert set(tasks.__all__) <= set(dir(tasks)) and dir(tasks) == sorted(set(dir(tasks)))
