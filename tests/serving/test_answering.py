"""The answers of small tasks are those of the tasks themselves."""

import json
import pathlib
import types

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

import tensorflow as tf

import keras_seq
from keras_seq.commands.serve import Serve, check, settings_of
from keras_seq.serving import requests
from keras_seq.serving.answering import SEARCHES, Answers
from keras_seq.serving.describing import description
from keras_seq.serving.plain import as_json, reason_of, tensor
from keras_seq.serving.settings import Settings
from keras_seq.tasks.results import Attention, Classified, Failure, Generated
from tests.reference import quick
from tests.tasks.test_tasks import INPUTS, LINES, MAKERS, writer


@pytest.fixture(scope="module")
def loaded(made_once):
    """`loaded(name)` is the task from its run folder, `loaded(name, "saved")` from its SavedModel."""
    found = {}

    def get(name, kind="run"):
        if (name, kind) not in found:
            found[name, kind] = keras_seq.load(made_once(f"task: {name}", writer(name)) / kind)
        return found[name, kind]

    return get


def asked(task, inputs, **options):
    """The answer to inputs, which went through JSON as they do between server and process."""
    described = json.loads(json.dumps(description(task)))
    items = requests.detail_items(inputs, options, described, Settings())
    answers = Answers(task)
    found = []
    for batch in [items] if described["joins"] else [[item] for item in items]:
        fields, blobs = requests.message(batch)
        answer = json.loads(json.dumps(answers.details(json.loads(json.dumps(fields)), blobs)))
        found += [result for part in requests.results(batch, answer) for result in part]
    return found


def plain(inputs):
    return [np.asarray(one).tolist() if not isinstance(one, str | list) else one for one in inputs]


@pytest.mark.parametrize("name", quick(list(MAKERS), few=["classification", "forecasting"]))
@pytest.mark.parametrize("kind", ["run", "saved"])
def test_answers_are_those_of_the_task(loaded, name, kind):
    task = loaded(name, kind)
    good, (bad, _) = INPUTS[name]
    inputs = plain([*good, bad])
    expected = [as_json(result) for result in task.details([*good, bad])]
    found = asked(task, inputs)
    assert "error" in found[-1] and "error" in expected[-1]
    for one, other in zip(found[:-1], expected[:-1], strict=True):
        same(one, other)


def same(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            same(one[name], other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-4)
    else:
        assert one == other


@pytest.mark.long
def test_a_sampled_text_does_not_depend_on_its_batch(loaded):
    task = loaded("generation")
    options = {"search": "sampling", "seed": 4, "max_length": 6}
    described = description(task)
    one = requests.detail_items(LINES[:3], options, described, Settings())
    two = requests.detail_items(LINES[1:2], options, described, Settings())
    fields, blobs = requests.message([*two, *one])
    found = Answers(task).details(fields, blobs)["results"]
    expected = [as_json(result) for some in (LINES[1:2], LINES[:3]) for result in task.details(some, **options)]
    assert [result["text"] for result in found] == [result["text"] for result in expected]


@pytest.mark.long
def test_a_sound_file_is_read_as_transcribe_reads_it(loaded, tmp_path):
    import wave

    samples = (8000 * np.sin(np.arange(3000) / 3)).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(samples.tobytes())
    task = loaded("transcription")
    (found,) = asked(task, [(tmp_path / "a.wav").read_bytes()])
    same(found, as_json(task.details([tmp_path / "a.wav"])[0]))
    (damaged,) = asked(task, [b"RIFF\0\0\0\0WAVE"])
    assert "error" in damaged


def test_a_csv_file_is_read_as_forecast_reads_it(loaded, tmp_path):
    rows = "".join(f"2020-01-{day:02},{100 + day},{20 + day % 5}\n" for day in range(1, 16))
    (tmp_path / "a.csv").write_text("time,load,OT\n" + rows)
    task = loaded("forecasting")
    (found,) = asked(task, ["time,load,OT\n" + rows])
    same(found, as_json(task.details([tmp_path / "a.csv"])[0]))
    assert [str(time)[:10] for time in found["times"]] == ["2020-01-16", "2020-01-17", "2020-01-18"]
    assert "error" in asked(task, ["time,load\n2020-01-01,3\n"])[0]


class Picky:
    """A task whose model fails for any batch with a "bad" text in it."""

    name = "classification"

    def predictor(self, **options):
        def predict(inputs):
            if "bad" in inputs:
                raise IndexError("no such row")
            return [keras_seq.tasks.Outputs({"n": np.array(len(text))}) for text in inputs]

        return predict


def test_reasons_have_no_paths():
    """A client learns nothing of the machine's folders."""
    reason = "`alpha`: with it, /srv/models/en-de.v2 also needs `seed`, and/or 3 km/h; /tmp/keras-seq-1_x/0.csv: line 2"
    assert as_json(Failure(reason)) == {
        "error": "`alpha`: with it, en-de.v2 also needs `seed`, and/or 3 km/h; 0.csv: line 2"
    }
    assert reason_of(OSError(2, "No such file", "/etc/a/passwd")) == "[Errno 2] No such file: 'passwd'"


def test_code_that_fails_fails_for_its_input_alone():
    fields = {"inputs": ["a", "bad", "ccc"], "options": {}}
    found = Answers(Picky()).details(fields, [])["results"]
    assert found == [{"n": 1}, {"error": "no such row"}, {"n": 3}]


class Given:
    """A task that gives back what it gets: the bytes of files, and other inputs in words. It notes its options."""

    def __init__(self, name="tensors"):
        self.name, self.options = name, []

    def predictor(self, **options):
        self.options.append(options)
        return lambda inputs: [keras_seq.tasks.Outputs({"got": self._shown(one)}) for one in inputs]

    @staticmethod
    def _shown(one):
        return f"{one.name}: {one.read_bytes().decode()}" if isinstance(one, pathlib.Path) else repr(one)


def test_sounds_come_as_files_in_the_order_of_the_inputs():
    fields = {"inputs": [None, [1, 2], None], "options": {}}
    found = Answers(Given()).details(fields, [b"one", b"two"])["results"]
    assert found == [{"got": "0.wav: one"}, {"got": "array([1, 2])"}, {"got": "1.wav: two"}]


@pytest.mark.parametrize(
    "name, one, expected",
    [
        ("tagging", ["a", "b"], {"got": "['a', 'b']"}),
        ("tensors", {"x": [1], "y": [[2]]}, {"got": "{'x': array([1]), 'y': array([[2]])}"}),
        ("tensors", [[1], [2, 3]], {"error": "the input is not a regular array: its rows differ in length"}),
        ("tensors", {"x": [[1], [2, 3]]}, {"error": "the input is not a regular array: its rows differ in length"}),
        ("classification", ["a"], {"error": """the input must be an array of numbers. Received: "['a']\""""}),
    ],
)
def test_arrays_among_the_inputs(name, one, expected):
    """A bad one is no reason to refuse the other."""
    found = Answers(Given(name)).details({"inputs": [one, "x"], "options": {}}, [])["results"]
    assert found == [expected, {"got": "'x'"}]


def test_without_a_good_input_the_model_computes_nothing():
    task = Given()
    task.predictor = lambda: lambda inputs: pytest.fail("It computed.")
    found = Answers(task).details({"inputs": [["a"]], "options": {}}, [])["results"]
    assert [list(one) for one in found] == [["error"]]
    assert Answers(task).details({"inputs": [], "options": {}}, []) == {"results": []}


def test_the_search_that_was_longest_without_a_request_is_compiled_anew():
    task = Given()
    answers = Answers(task)
    ask = lambda beams: answers.details({"inputs": ["a"], "options": {"num_beams": beams}}, [])  # noqa: E731
    for beams in (*range(SEARCHES), 0, SEARCHES, 0, 1):
        ask(beams)
    assert [options["num_beams"] for options in task.options] == [*range(SEARCHES), SEARCHES, 1]


def test_a_stream_and_an_attention(monkeypatch):
    made = []

    def text_stream(task):
        made.append(task)
        return lambda text, **options: iter([text, str(options)])

    monkeypatch.setattr("keras_seq.tasks.token_stream.TextStream", text_stream)
    task = Given("translation")
    task.attention = lambda one, other: Attention(np.array([[0.25, np.nan]]), [one], [other])
    answers = Answers(task)
    for text, shown in (("a", "a"), ("\ud800 b", "? b")):
        fields = {"input": text, "options": {"max_length": 3}}
        assert list(answers.stream(fields, [])) == [shown, "{'max_length': 3}"]
    assert made == [task]
    assert answers.attention({"input": "a", "output": "b"}, []) == {
        "weights": [[0.25, None]], "source": ["a"], "target": ["b"]
    }  # fmt: skip


def test_numbers_of_joined_calls_are_parted_whole():
    calls = []

    class Sizes:
        structured_input_signature = ((), {"text": tf.TensorSpec([None], tf.string, "text")})

        def __call__(self, text):
            calls.append(len(text))
            sizes = [len(one) for one in text.numpy()]
            padded = [[one, b"", b""] for one in text.numpy()]
            return {"sizes": tf.constant([[size, 0] for size in sizes]), "texts": tf.constant(padded)}

    task = Given()
    task.verb, task.signatures, task.function = "measure", lambda: ["measure"], lambda name: Sizes()
    requests = [{"text": ["a"]}, {"text": ["bc", "def"]}]
    found = Answers(task).call({"signature": "measure", "requests": requests}, [])["answers"]
    assert calls == [3]
    assert [one["outputs"] for one in found] == [
        {"sizes": [[1, 0]], "texts": [["a"]]},
        {"sizes": [[2, 0], [3, 0]], "texts": [["bc"], ["def"]]},
    ]


def test_texts_of_a_search_as_json():
    one = Generated(["b c"], [-1.0], [-2.0], [True], "a ")
    assert as_json(one) == {"text": "a b c", "score": -1.0, "log_prob": -2.0, "finished": True}
    several = Generated(["b", "c"], [-1.0, -np.inf], [-2.0, -3.0], [True, False], "a ")
    columns = {"scores": [-1.0, None], "log_probs": [-2.0, -3.0], "finished": [True, False]}
    assert as_json(several) == {"texts": ["a b", "a c"], **columns}
    answers = {"topic": Classified("sport", 1.0, {"sport": 1.0}), "mood": Failure("no text")}
    assert as_json(answers) == {
        "topic": {"label": "sport", "probability": 1.0, "probabilities": {"sport": 1.0}}, "mood": {"error": "no text"}
    }  # fmt: skip


def saved(name, verb, **options):
    """Stands for a SavedModel with a signature of these options."""
    signature = types.SimpleNamespace(structured_input_signature=((), {"text": None, **options}))
    named = {verb: None, **({f"{verb}_with_options": signature} if options else {})}
    return types.SimpleNamespace(name=name, verb=verb, rank=None, model=None, signatures_by_name=named)


@pytest.mark.parametrize(
    "options, joins",
    [({}, True), ({"num_beams": None}, True), ({"temperature": None, "top_k": None}, False), ({"seed": None}, False)],
)
def test_texts_of_a_saved_model_that_draws_share_no_batch(options, joins):
    described = description(saved("generation", "generate", **options))
    assert described["options"] == list(options) and described["joins"] == joins
    assert described["joins_widths"] and not described["numbered"] and not described["streams"]


def test_options_of_transcription_are_those_of_its_search():
    task = types.SimpleNamespace(name="transcription", verb="transcribe", rank=None, model=None, sampling_rate=8000)
    described = description(task)
    assert (described["reads"], described["sampling_rate"]) == ("audio", 8000)
    assert described["options"] == ["search", "num_beams"] and described["joins"] and not described["joins_widths"]
    task.signatures_by_name = {"transcribe": None}
    assert description(task)["options"] == []


@pytest.mark.parametrize("kind", ["run", "saved"])
def test_calls_of_a_signature_are_joined_and_parted(loaded, kind):
    answers = Answers(loaded("tagging", kind))
    alone = [
        answers.call({"signature": "tag", "requests": [{"text": texts}]}, [])["answers"][0]["outputs"]
        for texts in (["a man"], ["the dog runs far", "a"])
    ]
    together = [{"text": ["a man"]}, {"text": ["the dog runs far", "a"]}]
    found = answers.call({"signature": "", "requests": together}, [])["answers"]
    assert [one["outputs"] for one in found] == alone
    found = answers.call({"signature": "", "requests": [{"text": [3]}, *together]}, [])["answers"]
    assert "must be of type string" in found[0]["error"] and [one["outputs"] for one in found[1:]] == alone
    assert len(alone[0]["tags"][0]) == 2 and len(alone[1]["tags"][0]) == 4
    one = answers.call({"signature": "tag_words", "requests": [{"": [["a", "man"]]}]}, [])["answers"][0]
    assert one["outputs"]["tags"] == alone[0]["tags"]


@pytest.mark.parametrize(
    "signature, given, reason",
    [
        ("nothing", {"text": ["a"]}, "There is no signature 'nothing'. There are: tag, tag_words"),
        ("tag", {"other": ["a"]}, "There is no input 'other'. There are: text"),
        ("tag", {"text": [3]}, "`text` must be of type string"),
        ("tag", {"text": "a"}, r"`text` must have the shape \(any\). Received: \(\)"),
        ("tag", {"text": [["a"]]}, r"must have the shape \(any\)"),
    ],
)
def test_wrong_calls_are_refused(loaded, signature, given, reason):
    with pytest.raises(ValueError, match=reason):
        Answers(loaded("tagging")).call({"signature": signature, "requests": [given]}, [])


def test_signatures_are_described(loaded):
    found = Answers(loaded("tagging", "saved")).signatures({}, [])["signatures"]
    assert found["tag"] == found["serving_default"]
    assert found["tag"]["inputs"] == {"text": {"dtype": "string", "shape": [None]}}
    assert found["tag"]["outputs"]["tags"] == {"dtype": "string", "shape": [None, None]}
    assert Answers(loaded("tagging")).signatures({}, [])["signatures"].keys() == found.keys()


def test_arrays_from_json():
    assert tensor("x", [1, 2.5], "float32", [None]).tolist() == [1, 2.5]
    assert tensor("x", 3, "int32", []).tolist() == 3
    assert tensor("x", ["é", {"b64": "/w=="}], "string", [None]).tolist() == ["é".encode(), b"\xff"]
    for value, dtype, shape, reason in (
        ([1.5], "int32", [None], "must be of type int32"),
        ([2**40], "int32", [None], "a number that int32 cannot hold"),
        ([[1], [1, 2]], "float32", [None, None], "its rows differ in length"),
        ([{"b64": "!"}], "string", [None], "`b64` is not base64"),
        (["a"], "float32", [None], "must be of type float32"),
        ([1], "float32", [2], r"must have the shape \(2\)"),
    ):
        with pytest.raises(ValueError, match=reason):
            tensor("x", value, dtype, shape)


def test_flags_of_the_command(tmp_path):
    file = tmp_path / "token"
    file.write_text("secret\n")
    options = Serve(model=(tmp_path,), token_file=file, max_queue=7)
    assert (settings_of(options).token, settings_of(options).max_queue) == ("secret", 7)
    assert Settings() == settings_of(Serve(model=(tmp_path,)))
    file.write_text("two words")
    with pytest.raises(ValueError, match="must have one token"):
        settings_of(options)
    for name, value in (("batch_tokens", 0), ("max_wait_ms", -1.0), ("workers", 0), ("threads", 0), ("deadline", 0.0)):
        with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} must be"):
            check(Serve(model=(tmp_path,), **{name: value}))
