import functools
import json
import math
import shutil

import keras
import numpy as np
import pytest

from keras_seq import decoding, models, tasks, text
from keras_seq.layers import RecurrentStack
from tests.commands.conftest import SOURCE, TARGET, run_folder

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)


def opened(*paths):
    vocabulary = text.load(paths[0] / "vocabulary" / "joint.words")
    return [keras.models.load_model(path / "best.keras") for path in paths], vocabulary


@pytest.fixture
def second(folders, made_once):
    """A Transformer beside the folder "lstm", and one whose vocabulary has the same words in another order."""

    def make(root):
        keras.utils.set_random_seed(5)
        vocabulary = text.load(folders["lstm"] / "vocabulary" / "joint.words")
        model = models.Transformer(vocabulary.size, units=8, num_heads=2, num_layers=1)
        run_folder(root / "transformer", model, vocabulary)
        shutil.copytree(root / "transformer", root / "other")
        turned = text.Words(vocabulary.pieces(range(4, vocabulary.size))[::-1])
        turned.save(root / "other" / "vocabulary" / "joint.words")

    root = made_once("second", make)
    return {name: root / name for name in ("transformer", "other")}


def weighted(folders, second):
    """Two translators as an ensemble, their vocabulary, and the flags that name them."""
    both, vocabulary = opened(folders["lstm"], second["transformer"])
    flags = ["--model", folders["lstm"], "--model", second["transformer"], "--model-weight", 1, "--model-weight", 3]
    return decoding.Ensemble(both, [1, 3]), vocabulary, flags


@pytest.mark.long
def test_translate_and_evaluate_with_two_models(keras_seq, folders, second, tmp_path):
    ensemble, vocabulary, flags = weighted(folders, second)
    (tmp_path / "s").write_text("\n".join(SOURCE) + "\n")
    (tmp_path / "t").write_text("\n".join(TARGET) + "\n")

    search, options = ["--num-beams", 2, "--max-length", 4], {"num_beams": 2, "max_length": 4}
    expected = decoding.generate(ensemble, vocabulary, SOURCE, **options)
    assert keras_seq("translate", *flags, *search, tmp_path / "s").lines == expected
    alone = [decoding.generate(model, vocabulary, SOURCE, **options) for model in ensemble.models]
    assert expected not in alone

    run = shutil.copytree(folders["lstm"], tmp_path / "run")
    ensemble.save(run / "ensemble.keras")  # in one file, where it is one model for every verb
    assert keras_seq("translate", "--model", run / "ensemble.keras", *search, tmp_path / "s").lines == expected

    (tmp_path / "h").write_text("\n".join(expected) + "\n")
    evaluated = keras_seq("evaluate", tmp_path / "t", *flags, *search, "--source", tmp_path / "s", "--json").records
    assert evaluated == keras_seq("evaluate", tmp_path / "t", tmp_path / "h", "--json").records


def test_score_with_two_models(keras_seq, folders, second, tmp_path):
    ensemble, vocabulary, flags = weighted(folders, second)
    (tmp_path / "s").write_text("\n".join(SOURCE[:2]) + "\n")
    (tmp_path / "t").write_text("\n".join(TARGET[:2]) + "\n")
    scored = keras_seq("score", *flags, tmp_path / "s", tmp_path / "t", "--json").records
    report = decoding.perplexity(ensemble, vocabulary, TARGET[:2], sources=SOURCE[:2])
    for record, log_probs in zip(scored, report.token_log_probs, strict=True):
        np.testing.assert_allclose(record["token_log_probs"], log_probs, atol=1e-4)


def test_language_models_go_on_together(keras_seq, folders):
    flags = ["--model", folders["rnn"], "--model", folders["transformer"]]
    both, vocabulary = opened(folders["rnn"], folders["transformer"])
    (record,) = keras_seq("generate", *flags, "--search", "greedy", "--max-length", 5, "--json", stdin="a man").records
    ids = [vocabulary.start_id, *vocabulary.tokenize("a man").numpy().tolist()]
    total, begin = 0.0, len(ids)
    while len(ids) < begin + 5 and ids[-1] != vocabulary.end_id:
        logits = [np.asarray(model(np.array([ids])))[0, -1].astype("float64") for model in both]
        mean = sum(np.exp(x) / np.exp(x).sum() for x in logits) / 2
        ids.append(int(mean.argmax()))
        total += math.log(mean.max())
    assert record["text"] == vocabulary.detokenize([ids]).numpy()[0].decode()
    assert record["log_prob"] == pytest.approx(total, abs=1e-4)


def test_what_does_not_fit_together_is_refused(keras_seq, folders, second):
    def refused(verb, *flags):
        result = keras_seq(verb, *flags, stdin="a")
        assert result.code == 2 and result.err.count("\n") == 1
        return result.err

    first = ["--model", folders["lstm"]]
    files = [folder / "vocabulary" / "joint.words" for folder in (folders["lstm"], second["other"])]
    told = refused("translate", *first, "--model", second["other"])
    assert f"{files[0]} and {files[1]} differ: token 4 is" in told
    told = refused("translate", *first, "--model", folders["rnn"])
    assert "rnn/best.keras is a language model, but" in told and "lstm/best.keras is a translator" in told
    told = refused("translate", *first, "--model", folders["served"])
    assert "is a SavedModel" in told and "Give the run folder" in told
    told = refused("translate", *first, *first, "--model-weight", 2)
    assert "--model-weight must be a positive number for each of 2 models, or none. Received: 2" in told
    for weight in ("-1", "0", "nan", "inf"):
        assert "must be a positive number" in refused("translate", *first, "--model-weight", weight)


@functools.cache
def language_model(vocabulary_size):
    return models.LanguageModel(vocabulary_size, RecurrentStack("rnn", 2, num_layers=1))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda words: text.Characters("abc"), "one is a Words, the other a Characters"),
        (lambda words: text.Words(words[:-1]), "11 tokens and 10"),
        (lambda words: text.Words([*words[:-1], "z"]), "token 10 is 'g' in one and 'z' in the other"),
        (lambda words: text.Words(words, lowercase=True), "the same tokens, but texts are split differently"),
    ],
)
def test_how_two_vocabularies_differ(make, told, tmp_path):
    words = list("abcdefg")
    paths = []
    for name, vocabulary in (("a", text.Words(words)), ("b", make(words))):
        path = tmp_path / name
        (path / "vocabulary").mkdir(parents=True)
        ending = "characters" if isinstance(vocabulary, text.Characters) else "words"
        vocabulary.save(path / "vocabulary" / f"joint.{ending}")
        (path / "config.json").write_text(json.dumps({}))
        language_model(vocabulary.size).save(path / "best.keras")
        paths.append(path)
    with pytest.raises(ValueError, match=told):
        tasks.load(paths)
