"""Each task made in Python, saved into a run folder and exported: the same answers for one input, for many, for none,
and for one bad among good ones."""

import json
import wave

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import keras_seq
from keras_seq import data, decoding, export, models, tasks, text
from keras_seq.layers import RecurrentStack
from keras_seq.tasks.loading import expect, load_run
from tests.reference import quick

LINES = ["a man rides a horse", "two men ride", "the dog runs far", "a horse", "the quick brown fox"]
SCALER = data.Scaler([100.0, 20.0], [50.0, 4.0], ["load", "OT"])
RANDOM = np.random.default_rng(3)
FRONT_END = {"num_mel_bins": 8, "frequency_mask_width": 2, "conv_layers": 1}


def loud(model):
    """Random weights, so large that the answers differ."""
    random = np.random.default_rng(5)
    for weight in model.weights:
        weight.assign(weight + random.normal(0, 0.5 if len(weight.shape) > 1 else 0.1, weight.shape))
    return model


def translation():
    words = text.Words.train(LINES)
    model = models.Seq2Seq(words.size, units=8, num_layers=1, cell="gru", attention="dot", bidirectional=False)
    return tasks.Translation(loud(model), words, num_beams=2, length_penalty=decoding.gnmt_penalty(0.6), max_length=7)


def generation():
    words = text.Words.train(LINES)
    model = models.LanguageModel(words.size, RecurrentStack("gru", 8, num_layers=1))
    return tasks.Generation(loud(model), words, num_beams=2, max_length=5, first="end")


def classification():
    words = text.Words.train(LINES)
    model = models.classifier(words.size, 3, architecture="gru", units=8)
    return tasks.Classification(loud(model), words, ["bad", "good", "so so"])


def tagging():
    words, letters = text.Words.train(LINES), text.Characters.train(LINES)
    spelling = {"characters": "cnn", "character_vocabulary_size": letters.size, "character_units": 8}
    model = models.tagger(words.size, 3, architecture="gru", units=8, crf=True, **spelling)
    return tasks.Tagging(loud(model), words, ["ADJ", "NOUN", "VERB"], characters=letters)


def forecasting():
    model = models.forecaster(2, 12, 3, architecture="gru", units=8, num_layers=1, patch_length=4, targets=[1])
    return tasks.Forecasting(loud(model), SCALER, SCALER.select(["OT"]), look_back=12)


def transcription():
    words = text.Words(["low", "middle", "high"])
    front_end = models.audio_front_end(8, **FRONT_END)
    model = models.recognizer(words.size, front_end=front_end, architecture="gru", units=8, num_layers=1)
    return tasks.Transcription(loud(model), words, search="greedy")


def clips():
    model = models.video_classifier((8, 8, 1), 2, units=8, filters=(4,))
    return tasks.Classification(loud(model), None, ["up", "down"])


def tensors():
    return tasks.Tensors(loud(models.frame_predictor((8, 8, 1), filters=(4,))))


MAKERS = {
    maker.__name__: maker
    for maker in (translation, generation, classification, tagging, forecasting, transcription, clips, tensors)
}
SERIES = RANDOM.normal(size=(4, 20, 2)) * [50, 4] + [100, 20]
FRAMES = RANDOM.random((3, 5, 8, 8, 1), "float32")
# Good inputs, and a bad one with what is said of it; None: every text has an output.
INPUTS = {
    "translation": (LINES, ("dog " * 2000, "tokens are more than `max_source_length`")),
    "generation": (LINES, ("dog " * 2000, "tokens are more than `max_source_length`")),
    "classification": (LINES, ("dog " * 2000, "tokens are more than `max_source_length`")),
    "tagging": ([*LINES, ["two words", "of mine"]], (["dog"] * 2000, "tokens are more than `max_source_length`")),
    "forecasting": (list(SERIES), (SERIES[0, :5], r"the past has the shape \(5, 2\)")),
    "transcription": (
        [0.3 * np.sin(np.arange(n) / 3) for n in (4000, 2500, 3000)],
        (np.zeros(0), "a recording must be"),
    ),
    "clips": (list(FRAMES), (FRAMES[0, :, :4], r"the input has the shape \(5, 4, 8, 1\)")),
    "tensors": (list(FRAMES), (FRAMES[0, 0], "incompatible|shape|expected")),
}


def same(one, other):
    for a, b in zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True):
        if isinstance(a, str | bool) or a is None:
            assert a == b
        else:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def writer(name):
    """A function that writes a task into a folder: its run folder and its SavedModel."""

    def make(root):
        keras.utils.set_random_seed(3)
        task = MAKERS[name]()
        task.save(root / "run")
        export.saved_model(task, root / "saved", verify=False)

    return make


@pytest.fixture(scope="module")
def saved(made_once):
    """The task in Python, from its run folder and from its SavedModel."""
    found = {}

    def get(name):
        if name not in found:
            root = made_once(f"task: {name}", writer(name))
            keras.utils.set_random_seed(3)
            found[name] = MAKERS[name](), keras_seq.load(root / "run"), keras_seq.load(str(root / "saved"))
        return found[name]

    return get


@pytest.mark.parametrize("name", quick(list(MAKERS), few=["classification", "forecasting", "clips"]))
def test_a_run_folder_and_a_saved_model_answer_as_the_task_does(saved, name):
    good, (bad, reason) = INPUTS[name]
    ours, run, served = saved(name)
    assert type(ours) is type(run) and run.name == served.name == ours.name and run.verb == served.verb
    expected = ours.details(good)
    outputs = ours(good)
    assert len({str(result) for result in expected}) > 1
    for task in (run, served):
        same(task.details(good), expected)
        same(task(good), outputs)
        same(task(good[1]), outputs[1])
        assert task([]) == task.details([]) == []
        *found, failed, last = task.details([*good[:2], bad, good[0]])
        same([*found, last], [*expected[:2], expected[0]])
        assert isinstance(failed, tasks.Failure)
        with pytest.raises(ValueError, match=f"1 of 2 inputs have no output, for example input 1: .*({reason})"):
            task([good[0], bad])
    with pytest.raises(TypeError, match="`details` takes a list of inputs"):
        run.details(good[0])


def test_what_a_run_folder_holds(tmp_path):
    task = translation()
    task.save(tmp_path)
    content = json.loads((tmp_path / "task.json").read_text())
    assert content["task"] == "translation" and content["max_length"] == 7
    assert content["search"]["search"] == "beam" and content["search"]["num_beams"] == 2
    again = keras_seq.load(tmp_path)
    assert again.search == task.search and again.vocabulary is again.source_vocabulary
    assert sorted(path.name for path in (tmp_path / "vocabulary").iterdir()) == ["joint.words"]
    for content, told in (("{", "is damaged"), ('{"task": "cooking"}', '"task" must be one of translation')):
        (tmp_path / "task.json").write_text(content)
        with pytest.raises(ValueError, match=f"task.json {'' if 'damaged' in told else '.*'}{told}"):
            keras_seq.load(tmp_path)
    (tmp_path / "task.json").unlink()  # of an older run, or one that has not come to its end
    assert isinstance(keras_seq.load(tmp_path), tasks.Translation)


def test_a_folder_of_ctranslate2_is_named(tmp_path):
    for name in ("model.bin", "config.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match="is a folder of CTranslate2.*Give the run folder"):
        keras_seq.load(tmp_path)


@pytest.mark.long
def test_options_of_a_search(saved):
    ours, run, served = saved("translation")
    (result,) = run.details(LINES[:1], num_beams=4, num_return=3)
    assert len(result.texts) == 3 and result.scores == sorted(result.scores, reverse=True)
    assert run(LINES[0], num_beams=4, num_return=3) == result.texts
    greedy = decoding.generate(ours.model, ours.vocabulary, LINES, search="greedy", max_length=7)
    assert run(LINES, search="greedy") == greedy
    assert run(LINES, ban=["horse"], max_length=4) == decoding.generate(
        ours.model,
        ours.vocabulary,
        LINES,
        search=ours.search,
        max_length=4,
        constraints=[decoding.Banned(ours.vocabulary.tokenize(["horse"]).to_list())],
    )
    assert served(LINES, max_length=2, alpha=0.0) == run(LINES, max_length=2, alpha=0.0)
    for options, told in (
        ({"beams": 3}, "`beams`: .* has no such option"),
        ({"temperature": 1.0}, "`temperature`: `search` beam has no such option. Leave it out, or use sampling"),
        (
            {"replace_unknown": True, "search": "greedy", "min_length": 9, "max_length": 4},
            "`min_length` 9 is more than",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            run(LINES, **options)
    with pytest.raises(ValueError, match="`num_beams`: .* is a SavedModel with a fixed search. It takes `alpha`"):
        served(LINES, num_beams=3)


def test_searches_share_the_trace_of_the_tokenization():
    task = translation()
    texts = [task(LINES[:1], search="greedy", max_length=length) for length in (2, 3)]
    assert all(texts) and task.tokenized.experimental_get_tracing_count() == 1


def test_several_runs_decode_together(tmp_path):
    one, other = translation(), translation()
    for weight in other.model.weights:
        weight.assign(-weight)
    for name, task in (("one", one), ("other", other)):
        task.save(tmp_path / name)
    both = keras_seq.load([tmp_path / "one", tmp_path / "other"], weights=[1, 3])
    ensemble = decoding.Ensemble([one.model, other.model], [1, 3])
    assert both(LINES) == decoding.generate(ensemble, one.vocabulary, LINES, search=one.search, max_length=7)
    with pytest.raises(ValueError, match="`weights` must be a positive number for each of 2 models"):
        keras_seq.load([tmp_path / "one", tmp_path / "other"], weights=[1])
    tagging().save(tmp_path / "tags")
    with pytest.raises(ValueError, match="is a task of tagging. Only tasks with a search take several models"):
        keras_seq.load([tmp_path / "one", tmp_path / "tags"])


def test_attention_of_a_translation():
    task = translation()
    text = LINES[0]
    weights, source, target = task.attention(text)
    assert source == [*text.split(), "</s>"] and target == [*task(text).split(), "</s>"]
    assert weights.shape == (len(target), len(source))
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-5)
    ids = [task.vocabulary.tokenize(one).numpy().tolist() for one in (text, "b a")]
    state = task.model.encode(np.array([[*ids[0], task.vocabulary.end_id]]), max_length=3, attention_weights=True)
    rows = []
    for token in (task.vocabulary.start_id, *ids[1]):  # step by step
        _, state = task.model.decode(np.array([[token]]), state)
        rows.append(np.asarray(state["attention"])[0, -1])
    np.testing.assert_allclose(task.attention(text, "b a").weights, rows, atol=1e-5)


def test_a_forgotten_vocabulary_of_the_source_is_told(caplog):
    source, target = text.Words(["a", "b"]), text.Words(["x", "y"])
    model = models.Seq2Seq(source.size, target.size, units=4, num_layers=1, cell="gru", bidirectional=False)
    task = tasks.Translation(model, target, search="greedy", max_length=2)
    task(["a b", "x"])
    assert (
        "2 of the 3 tokens of the texts are not in the vocabulary" in caplog.text
        and "`source_vocabulary`" in caplog.text
    )
    caplog.clear()
    tasks.Translation(model, target, source, search="greedy", max_length=2)(["c d"])
    joint = models.Seq2Seq(source.size, units=4, num_layers=1, cell="gru", bidirectional=False)
    tasks.Translation(joint, source, search="greedy", max_length=2)(["c d"])
    assert not caplog.records


def test_raw_inputs_of_series_and_sounds(saved, tmp_path):
    _, run, served = saved("forecasting")
    lines = ["day,load,OT", *(f"2024-01-{1 + i:02},{load},{ot}" for i, (load, ot) in enumerate(SERIES[0].tolist()))]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    series = data.read_series(tmp_path / "a.csv")
    for task in (run, served):
        for source in (tmp_path / "a.csv", series):
            (found,) = task.details([source])
            same(found.values, run(SERIES[0]))
            assert found.times == ["2024-01-21", "2024-01-22", "2024-01-23"] and found.names == ["OT"]
        (failed,) = task.details([tmp_path / "none.csv"])
        assert "does not exist" in failed.reason
    _, run, served = saved("transcription")
    sound = INPUTS["transcription"][0][0]
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, run.sampling_rate, 0, "NONE", ""))
        file.writeframes((sound * 32768).astype("<i2").tobytes())
    assert run(tmp_path / "a.wav") == run(sound) == served(str(tmp_path / "a.wav"))


def test_a_task_of_another_kind_is_refused(saved, tmp_path):
    _, run, served = saved("classification")
    for task in (run, served):
        with pytest.raises(ValueError, match="is a task of classification, not of translation. Use keras-seq classify"):
            expect(task, "translation")
    with pytest.raises(ValueError, match="is a SavedModel, but averaging needs the weights"):
        load_run(served.folder, "averaging")
    with pytest.raises(FileNotFoundError, match="does not exist. A model is in a run folder"):
        keras_seq.load(tmp_path / "nowhere")
