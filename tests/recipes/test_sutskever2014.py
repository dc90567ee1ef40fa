"""The recipe of Sutskever et al. 2014: its numbers are the paper's, it runs, streams and tells its costs."""

import gzip
import json
import re

import keras
import numpy as np
import pytest
import sacrebleu

import keras_seq
from keras_seq import data, text
from recipes import sutskever2014
from recipes.synthetic import number_names
from tests.recipes.finished import OPENED_LONG, check_config
from tests.recipes.pages import Begun, end_at_the_fit, error_of, runner

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

Options = sutskever2014.Options
SMALL = Options(numbers=60, epochs=1, units=8, num_layers=2, batch_size=8, num_beams=2)
run_in = runner(sutskever2014, SMALL)


@pytest.fixture(scope="module")
def begun(made_once):
    """A run of an epoch, exported."""
    return made_once("sutskever2014-begun", run_in)


@pytest.fixture
def corpus(tmp_path):
    """Files of the names of numbers, the training text compressed."""
    parts = number_names.parallel_text(60, 10, seed=1)
    for part, name in (("train", "train"), ("valid", "val"), ("test", "test")):
        for language, lines in (("en", parts[part].sources), ("fr", parts[part].targets)):
            text = "".join(line + "\n" for line in lines).encode()
            if part == "train":
                (tmp_path / f"{name}.{language}.gz").write_bytes(gzip.compress(text))
            else:
                (tmp_path / f"{name}.{language}").write_bytes(text)
    return tmp_path


def test_the_numbers_of_the_paper():
    """Sections 3.1, 3.2 and 3.4."""
    paper = sutskever2014.with_defaults(Options(size="paper", data_dir="somewhere"))
    assert (paper.source_vocabulary_size, paper.target_vocabulary_size) == (160_000, 80_000)
    assert (paper.num_layers, paper.units, paper.initial_scale) == (4, 1000, 0.08)
    assert (paper.optimizer, paper.learning_rate, paper.clipnorm, paper.batch_size) == ("sgd", 0.7, 5.0, 128)
    assert (paper.epochs, paper.reverse_source, paper.num_beams, paper.dropout) == (7.5, True, 12, 0.0)


@pytest.mark.parametrize("steps", [200, 36, 93_750])
def test_the_rate_is_halved_every_half_epoch_after_five(steps):
    """The rate in the middle, at the first and at the last update of each half of 7.5 epochs."""
    schedule = sutskever2014.schedule(0.7, updates=round(7.5 * steps))
    for half in range(15):
        begin, end = round(half * steps / 2), round((half + 1) * steps / 2)
        expected = 0.7 * 0.5 ** max(0, half - 9)
        for update in (begin, (begin + end) // 2, end - 1):
            assert float(schedule(update)) == pytest.approx(expected), (half, update)


def test_the_model_has_the_weights_of_the_paper():
    options = sutskever2014.with_defaults(Options(units=20, num_layers=4))
    model = sutskever2014.build(options, 50, 30)
    assert model.count_params() == (50 + 2 * 30) * 20 + 8 * (8 * 20 * 20 + 4 * 20)
    assert options.initial_scale == pytest.approx(0.08 * 50**0.5)
    largest = max(np.abs(weight.numpy()).max() for weight in model.trainable_weights)
    assert 0.99 * options.initial_scale < largest <= options.initial_scale
    assert not model.has_attention and model.reverse_source


def test_batches_have_the_size_and_sentences_of_about_the_same_length():
    part = number_names.parallel_text(500, 10, seed=1)["train"]
    words = [text.Words.train(side) for side in (part.sources, part.targets)]
    paddings = {}
    for width in (0, 2):
        options = sutskever2014.with_defaults(Options(batch_size=16, bucket_width=width))
        _, batches, tokens = sutskever2014.batched(options, part, *words, shuffle=True)
        found = [labels.numpy() for _, labels, _ in batches]
        assert len(found) == int(batches.cardinality()) and sum(map(len, found)) == 500
        assert sum((labels != 0).sum() for labels in found) == tokens
        assert max(map(len, found)) == 16
        paddings[width] = np.mean([(labels == 0).mean() for labels in found])
    assert paddings[2] < 0.6 * paddings[0]


def test_training_ends_after_half_an_epoch(monkeypatch, tmp_path):
    seen = {}

    def fit(options, model, train, *rest, **fitting):
        seen.update(updates=train.updates, rounds=train.epochs, epoch=int(np.ceil(60 / 8)))
        raise Begun

    monkeypatch.setattr("keras_seq.experiment.fit", fit)
    with pytest.raises(Begun):
        run_in(tmp_path, epochs=2.5, bucket_width=0)
    assert seen["rounds"] == 5 and seen["updates"] == pytest.approx(2.5 * seen["epoch"], abs=1)


def test_it_leaves_what_it_promises(begun):
    run = begun / "run"
    for name in ("config.json", "history.csv", "metrics.json", "best.keras", "task.json", "test.txt"):
        assert (run / name).stat().st_size > 0, name
    assert {path.name for path in (run / "vocabulary").iterdir()} == {"source.words", "target.words"}
    assert (begun / "export" / "saved_model.pb").exists()


@OPENED_LONG
def test_the_task_gives_the_measured_figures(begun, place):
    test = number_names.parallel_text(60, 60, 1)["test"]
    (found,) = [each for each in json.loads((begun / "run" / "metrics.json").read_text()) if each["metric"] == "BLEU"]
    translations = keras_seq.load(begun / place)(test.sources)
    assert translations == (begun / "run" / "test.txt").read_text().splitlines()
    bleu = sacrebleu.corpus_bleu(translations, [test.targets], tokenize="none").score
    assert bleu == pytest.approx(found["value"], abs=1e-4)


def test_the_config_gives_the_same_options(begun):
    check_config(sutskever2014, begun / "run", SMALL)


def test_streamed_text_gives_the_same_batches(corpus):
    parts = {
        stream: sutskever2014.read(Options(data_dir=corpus, tokenize="none", stream=stream)) for stream in (False, True)
    }
    assert isinstance(parts[True]["train"], data.ParallelFiles)
    found = []
    for stream in (False, True):
        options = sutskever2014.with_defaults(Options(data_dir=corpus, batch_size=8, stream=stream))
        train = parts[False]["train"]
        words = [text.Words.train(side) for side in (train.sources, train.targets)]
        batches = sutskever2014.batched(options, parts[stream]["train"], *words, shuffle=True)[1]
        found.append([labels.numpy().tolist() for _, labels, _ in batches])
    assert found[0] == found[1]


@pytest.mark.long
def test_a_streamed_run_can_be_resumed(corpus, tmp_path, monkeypatch, capsys):
    changes = {"data_dir": corpus, "tokenize": "none", "stream": True}
    end_at_the_fit(monkeypatch)
    for _ in range(2):  # the second time, the data must be recognized
        with pytest.raises(Begun):
            run_in(tmp_path, **changes)
    assert "60 pairs of lines, read in each epoch" in capsys.readouterr().out
    (corpus / "train.fr.gz").write_bytes(gzip.compress(b"un\n" * 60))
    with pytest.raises(ValueError, match="train"):
        run_in(tmp_path, **changes)


def test_text_is_tokenized(corpus):
    (corpus / "test.fr").write_text("L'eau, c'est bon.\n")
    (corpus / "test.en").write_text("Water is good.\n")
    test = sutskever2014.read(Options(data_dir=corpus))["test"]
    assert (test.sources, test.targets) == (["Water is good ."], ["L ' eau , c ' est bon ."])


def test_a_dry_run_tells_the_cost_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_in(tmp_path, dry_run=True)
    told = capsys.readouterr().out
    assert re.search(r"A sentence is 32 numbers", told)
    assert f"{2 * 2 * 8 * 8 * 8:,} are recurrent connections" in told
    assert "60 pairs" in told and "NVIDIA A100" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_a_dry_run_of_the_paper(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sutskever2014.main(Options(size="paper", dry_run=True))
    told = capsys.readouterr().out
    assert "384,032,000 parameters, of which 64,000,000 are recurrent connections" in told
    assert "A sentence is 8,000 numbers" in told and "93,750 batches of 128" in told


@pytest.mark.long
@pytest.mark.parametrize(
    "changes",
    [{"architecture": "transformer", "optimizer": "adam", "learning_rate": 1e-3}, {"attention": "general"}],
    ids=["transformer", "attention"],
)
def test_its_successors_run_to_the_end(tmp_path, changes):
    run = run_in(tmp_path, **changes)
    assert (run / "metrics.json").exists()


def test_bad_options_get_one_line(corpus, capsys):
    argv = ["--data-dir", str(corpus), "--run", str(corpus / "run")]
    assert "halves above 0. Received: 1.3" in error_of(sutskever2014, capsys, *argv, "--epochs", "1.3")
    assert "--tokenize none" in error_of(sutskever2014, capsys, *argv, "--stream")
    assert "--findings" in error_of(sutskever2014, capsys, *argv, "--findings", "miracles")
    streamed = [*argv, "--stream", "--tokenize", "none", "--findings", "reversal"]
    assert "Leave out --stream" in error_of(sutskever2014, capsys, *streamed)
    message = error_of(sutskever2014, capsys, "--budget-seconds", "5", "--run", str(corpus / "run2"), "--numbers", "50")
    assert "--budget-seconds" in message
