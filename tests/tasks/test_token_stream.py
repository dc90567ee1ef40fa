"""A streamed text is that of the same search."""

from types import SimpleNamespace

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import tensorflow as tf

import keras_seq
from keras_seq import export, models, tasks, text
from keras_seq.layers import RecurrentStack, TransformerStack
from keras_seq.tasks.token_stream import TextStream
from tests.reference import quick
from tests.tasks.stand_ins import STRINGS, Function
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


class Scripted:
    """A task with a SavedModel's functions, which writes these bytes, one a token. Bytes are numbered from 4."""

    where = "saved"

    def __init__(self, script, end_id=3, name="translation"):
        self.script, self.steps, self.name = script, 0, name
        self.vocabulary = SimpleNamespace(end_id=end_id)
        self.signatures_by_name = {
            "encode": Function(lambda text: {"tokens": tf.constant([[2]])}, text=STRINGS),
            "step": Function(self._step),
            "detokenize": Function(self._text),
        }

    def _step(self, tokens):
        token = self.script[self.steps] + 4 if self.steps < len(self.script) else self.vocabulary.end_id
        self.steps += 1
        return {"log_probs": tf.one_hot([token], 260)}

    def _text(self, tokens):
        return {"text": tf.constant([bytes(token - 4 for token in row) for row in tokens.numpy().tolist()])}


def test_a_stream_ends_at_the_end_token():
    task = Scripted(b"no")
    assert list(TextStream(task)("yes", max_length=9)) == ["n", "o"] and task.steps == 3
    assert list(TextStream(Scripted(b"", end_id=7))("yes", max_length=9)) == []


def test_half_a_character_waits_for_its_rest_or_the_end():
    horse = "a🐎".encode()
    assert list(TextStream(Scripted(horse))("", max_length=9)) == ["a", "🐎"]
    assert list(TextStream(Scripted(horse[:3]))("", max_length=3)) == ["a", "\ufffd"]


def test_what_follows_no_prompt_has_no_space_before_it():
    assert list(TextStream(Scripted(b" so", name="generation"))("", max_length=3)) == [" ", "s", "o"]
    assert list(TextStream(Scripted(b"", name="generation"))("a", max_length=2)) == []


def test_functions_that_take_no_text_do_not_stream():
    task = Scripted(b"")
    task.signatures_by_name["encode"] = Function(waveform=tf.TensorSpec([None, None]))
    with pytest.raises(ValueError, match="saved is a task of translation, which streams no text. Ask for its result."):
        TextStream(task)
