"""A streamed text is that of the same search."""

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import keras_seq
from keras_seq import export, models, tasks, text
from keras_seq.layers import RecurrentStack, TransformerStack
from keras_seq.tasks.token_stream import TextStream
from tests.reference import quick
from tests.tasks.test_tasks import LINES, MAKERS, loud

SEARCHES = {"greedy": {}, "sampling": {"seed": 3, "temperature": 0.8, "top_k": 5}}


def language_model(kind, backbone):
    keras.utils.set_random_seed(3)
    vocabulary = kind.train(LINES, 60, hard_vocab_limit=False) if kind is text.Subwords else kind.train(LINES)
    model = models.LanguageModel(vocabulary.size, backbone())
    return tasks.Generation(loud(model), vocabulary, max_length=9)


@pytest.fixture(scope="module")
def makers():
    keras.utils.set_random_seed(3)
    return {
        "translation": MAKERS["translation"](),
        "words": language_model(text.Words, lambda: RecurrentStack("gru", 8, num_layers=1)),
        "characters": language_model(text.Characters, lambda: RecurrentStack("gru", 8, num_layers=1)),
        "subwords": language_model(text.Subwords, lambda: TransformerStack(8, num_heads=2, num_layers=1)),
    }


@pytest.mark.parametrize(
    "name", quick(["translation", "words", "characters", "subwords"], few=["translation", "words"])
)
@pytest.mark.parametrize("search", SEARCHES)
def test_a_stream_is_the_text_of_the_search(makers, name, search):
    task, options = makers[name], SEARCHES[search]
    stream = TextStream(task)
    for line in LINES[:2]:
        pieces = list(stream(line, search=search, max_length=9, **options))
        (result,) = task.details([line], search=search, max_length=9, **options)
        assert "".join(pieces) == result.texts[0] and all(pieces)
        assert len(pieces) > 1


@pytest.mark.long
def test_a_saved_model_streams_alike(makers, tmp_path):
    export.saved_model(makers["words"], tmp_path / "saved", verify=False)
    stream, saved = TextStream(makers["words"]), TextStream(keras_seq.load(tmp_path / "saved"))
    for line in (LINES[0], LINES[0] + " ", ""):
        assert list(saved(line, max_length=6)) == list(stream(line, max_length=6))


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"search": "beam"}, "`search` of a stream must be greedy or sampling. Received: 'beam'"),
        ({"seed": 1}, "`seed`: `search` greedy of a stream has no such option"),
        ({"max_length": 0}, "`max_length` must be at least 1. Received: 0"),
        ({"search": "sampling", "temperature": -1}, "temperature"),
    ],
)
def test_wrong_options_are_named(makers, options, reason):
    with pytest.raises(ValueError, match=reason):
        TextStream(makers["words"])("a", **options)


def test_other_tasks_do_not_stream():
    with pytest.raises(ValueError, match="is a task of classification, which streams no text"):
        TextStream(MAKERS["classification"]())
