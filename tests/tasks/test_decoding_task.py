"""Translation and text generation around models that stand in for their own."""

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

from keras_seq import decoding, tasks, text
from keras_seq.tasks import translation
from keras_seq.tasks.decoding_task import Searcher
from tests.tasks.stand_ins import STRINGS, Function, Model, described

WORDS = text.Words(["red", "blue", "green"])
STEPS = [("encode", {"text": [b"red"]}), ("step", {}), ("step", {"tokens": (1, 1)}), ("detokenize", {"tokens": (1, 2)})]


def test_another_search_keeps_the_rest_of_the_task(tmp_path):
    generation = tasks.Generation(Model(), WORDS, first="end", max_length=5, constraints=[decoding.MinLength(1)])
    generation.folder, generation.file = tmp_path, tmp_path / "best.keras"
    found = generation.with_search({"search": "sampling", "top_k": 3, "no_repeat": 2})
    assert (found.first, found.begin_id, found.max_length) == ("end", WORDS.end_id, 5)
    assert found.search == decoding.Sampling(top_k=3) and found.file == tmp_path / "best.keras"
    assert found.constraints == (decoding.MinLength(1), decoding.NoRepeat(2))
    found = generation.with_search({"first": "start", "max_length": 2})
    assert (found.first, found.begin_id, found.max_length) == ("start", WORDS.start_id, 2)
    with pytest.raises(ValueError, match="^`beams`: .*best.keras has no such option. It has: "):
        generation.with_search({"beams": 3})
    source = text.Words(["rot"])
    found = tasks.Translation(Model(), WORDS, source, max_length=4).with_search({"num_beams": 2})
    assert found.source_vocabulary is source and found.search.num_beams == 2 and found.max_length == 4


def test_a_language_model_has_no_source_to_cover():
    task = tasks.Generation(Model(), WORDS)
    with pytest.raises(ValueError, match="`coverage_penalty`: a language model has no source. Leave it out."):
        task.predictor(coverage_penalty=0.2)


def test_attention_needs_a_model_that_has_it():
    task = tasks.Translation(Model(), WORDS)
    with pytest.raises(ValueError, match="`attention` needs a model with attention: Model has none."):
        task.attention("red")
    with pytest.raises(
        ValueError, match="`replace_unknown` needs a model with attention: Model has none. Leave it out"
    ):
        task.predictor(replace_unknown=True)


def test_the_calls_by_which_searches_are_compared():
    functions = {"encode": Function(text=STRINGS)}
    task = tasks.Generation(Model(), WORDS, search="sampling", seed=3, temperature=0.5)
    *batches, options, score, encode, step, steps, detokenize = described(task.calls(functions, ["red"]))
    assert batches == [("generate", {"text": text}) for text in ([b"red"], [b"red"], [])]
    given = {"text": [b"red"], "max_length": (), "temperature": (), "seed": ()}
    assert options[0] == "generate_with_options" and given.items() <= options[1].items()
    assert score == ("score", {"text": [b"red"]}) and [encode, step, steps, detokenize] == STEPS
    translation = tasks.Translation(Model(), WORDS, search="greedy")
    assert ("score", {"text": [b"red"], "target": [b"red"]}) in described(translation.calls(functions, ["red"]))
    long = "red " * 200  # which no batch of several texts has
    assert [call.signature for call in task.calls(functions, [long])] == ["generate"] * 3


class NoSearch:
    """In place of `Searcher`: the result is the source itself."""

    def __init__(self, task, *arguments, **options):
        self.task = task

    def tokenize(self, texts):
        return self.task.source_vocabulary.tokenize(texts).to_list()

    def run(self, sources, beside, limits, pad_id, nothing):
        return sources


def test_a_source_in_the_words_of_the_target_is_told(monkeypatch, caplog):
    monkeypatch.setattr(translation, "Searcher", NoSearch)
    model = Model(source_vocabulary_size=7, target_vocabulary_size=7)
    run = tasks.Translation(model, WORDS, search="greedy").predictor()
    assert run(["red blue", "", "rot"]) == [[4, 5, WORDS.end_id], [], [WORDS.unknown_id, WORDS.end_id]]
    assert not caplog.records  # one of three words is unknown
    run(["rot blau red"])
    assert "2 of the 3 tokens of the texts are not in the vocabulary" in caplog.text
    caplog.clear()
    tasks.Translation(model, WORDS, text.Words(["red", "blue", "green"]), search="greedy").predictor()(["rot blau"])
    assert not caplog.records


def test_no_texts_have_no_tokens():
    searcher = Searcher.__new__(Searcher)
    searcher.task = tasks.Translation(Model(), WORDS)
    assert searcher.tokenize([]) == [] and searcher.tokenize(["blue red", ""]) == [[5, 4], []]


def test_a_model_that_reads_no_text(tmp_path):
    model = Model(decode=print, source_front_end=Model())
    for kind in (tasks.Translation, tasks.Generation):
        with pytest.raises(
            ValueError, match="best.keras does not read text: it has a `source_front_end`. For recordings"
        ):
            kind.load(tmp_path, tmp_path / "best.keras", {}, model)
