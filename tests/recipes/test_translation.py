"""The recipe as its users run it: it learns, goes on, exports, and says what is wrong with its input."""

import dataclasses
import json
import os
import pathlib
import random
import re
import signal

import keras
import pytest
import sacrebleu

import keras_seq
from keras_seq import experiment
from recipes import translation
from recipes.synthetic import number_names
from tests.recipes.finished import OPENED_LONG, check_config
from tests.recipes.pages import FAR, Begun, end_at_the_fit, error_of, evaluated, runner

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

SMALL = translation.Options(numbers=40, epochs=1, units=8, tokens_per_batch=512, num_beams=2, average=2)
run_in = runner(translation, SMALL)


def metrics_of(run):
    return {entry["metric"]: entry for entry in json.loads((run / "metrics.json").read_text())}


def write_names(folder, train=4_000, others=50):
    """Files of the names of numbers of up to four digits, none of which is in two parts."""
    numbers = random.Random(1).sample(range(10_000), train + 2 * others)
    parts = {"val": numbers[:others], "test": numbers[others : 2 * others], "train": numbers[2 * others :]}
    for part, some in parts.items():
        for language in ("en", "fr"):
            names = "".join(number_names.name(number, language) + "\n" for number in some)
            (folder / f"{part}.{language}").write_text(names, encoding="utf-8")


@pytest.fixture(scope="module")
def begun(made_once):
    """A run of an epoch, exported."""
    return made_once("translation-begun", lambda folder: run_in(folder, architecture="rnn", num_layers=1))


@pytest.fixture(scope="module")
def learned(made_once):
    """A run on files, of a model that is quick to trace, exported."""
    small = experiment.with_defaults(translation.Options())  # the defaults of the demo, on files
    options = dataclasses.replace(small, epochs=4, learning_rate=6e-3, tokens_per_batch=512)

    def make(folder):
        write_names(folder)
        run_in(folder, options, data_dir=folder, architecture="gru", num_beams=2)

    return made_once("translation", make)


@pytest.mark.long
def test_evaluate_gives_the_scores_of_the_recipe(learned, capsys):
    expected = metrics_of(learned / "run")
    flags = ["--source", learned / "test.en", learned / "test.fr"]
    for folder in ("run", "export"):
        record = evaluated(capsys, learned / folder, *flags)
        for name in ("BLEU", "chrF", "exact match"):
            value = record[name.lower().replace(" ", "_")]
            assert value == pytest.approx(expected[name]["value"], abs=1e-4), (folder, name)


@pytest.mark.long
def test_it_learns_to_name_unseen_numbers(learned):
    found = metrics_of(learned / "run")
    assert found["exact match"]["value"] > 0.5  # an untrained model has 0
    assert found["BLEU"]["value"] > 80
    assert found["exact match"]["recipe"] == "recipes.translation"


def test_it_leaves_what_it_promises(begun):
    run = begun / "run"
    for name in ("config.json", "history.csv", "metrics.json", "best.keras", "vocabulary/joint.words"):
        assert (run / name).stat().st_size > 0, name
    for name in ("learning_curve.png", "attention.png"):
        assert (run / "plots" / name).read_bytes().startswith(b"\x89PNG"), name
    assert (begun / "export" / "saved_model.pb").exists()


@OPENED_LONG
def test_the_task_gives_the_measured_figures(begun, place):
    test, found = number_names.parallel_text(40, 40, 1)["test"], metrics_of(begun / "run")
    translations = keras_seq.load(begun / place)(test.sources)
    assert translations == (begun / "run" / "test.txt").read_text().splitlines()
    bleu = sacrebleu.corpus_bleu(translations, [test.targets]).score
    assert bleu == pytest.approx(found["BLEU"]["value"], abs=1e-4)
    chrf = sacrebleu.corpus_chrf(translations, [test.targets]).score
    assert chrf == pytest.approx(found["chrF"]["value"], abs=1e-4)


def test_the_config_gives_the_same_options(begun):
    check_config(translation, begun / "run", dataclasses.replace(SMALL, architecture="rnn", num_layers=1))


@pytest.mark.long
def test_a_run_that_begins_with_another_one_goes_on_inside_the_epoch_where_a_signal_ended_it(learned, tmp_path, capsys):
    class Preempt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_begin(self, batch, logs=None):
            if (self.epoch, batch) == (1, 1):
                os.kill(os.getpid(), signal.SIGTERM)

    options = translation.Options(numbers=200, epochs=2, tokens_per_batch=128, average=2, architecture="gru")
    options = dataclasses.replace(options, init_from=learned / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_seq.callbacks.Evaluator", lambda function: Preempt())
        with pytest.raises(SystemExit) as ended:
            run_in(tmp_path, options)
    assert ended.value.code == 143
    said = capsys.readouterr()
    assert re.search(r"From .*best.keras: .*target_embedding/0: \d+ tokens found, \d+ new", said.out)
    place = int(re.search(r"resumes after epoch 1 and (\d+) steps", said.err).group(1))
    assert place >= 1
    fit = experiment.fit
    with pytest.MonkeyPatch.context() as patch:  # what follows the fit is seen elsewhere
        patch.setattr(experiment, "fit", lambda *args, **rest: fit(*args, **rest) and False)
        run = run_in(tmp_path, options, save_every=1)
    assert "tokens found" not in capsys.readouterr().out  # it is a run of its own by now
    epochs = [line.split(",")[0] for line in (run / "history.csv").read_text().splitlines()]
    assert epochs == ["epoch", "1", "2"]


@FAR
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"architecture": "rnn", "attention": "none", "reverse_source": True, "joint": False}, marks=pytest.mark.long
        ),
        {
            "architecture": "gru",
            "attention": "additive",
            "scheduled_sampling": 0.5,
            "vocabulary": "unigram",
            "vocabulary_size": 60,
        },
        pytest.param(
            {
                "architecture": "transformer",
                "vocabulary": "bpe",
                "vocabulary_size": 60,
                "schedule": "inverse_square_root",
            },
            marks=pytest.mark.long,
        ),
    ],
    ids=lambda changes: changes["architecture"],
)
def test_every_architecture_and_vocabulary_runs_to_the_end(tmp_path, changes, monkeypatch, to_the_end):
    if not to_the_end:
        end_at_the_fit(monkeypatch)
        with pytest.raises(Begun):
            run_in(tmp_path, **changes)
        return
    run = run_in(tmp_path, **changes)
    assert metrics_of(run)["chrF"]["value"] >= 0
    assert (tmp_path / "export" / "saved_model.pb").exists()


def test_the_defaults_depend_on_what_is_translated():
    assert translation.with_defaults(translation.Options()).units == 128
    on_files = translation.with_defaults(translation.Options(data_dir="somewhere", architecture="transformer"))
    assert (on_files.vocabulary, on_files.num_layers, on_files.intermediate_dim) == ("bpe", 3, 512)
    assert translation.with_defaults(translation.Options(units=64)).units == 64


def test_scheduled_sampling_rises_to_its_rate_in_half_the_updates():
    rate = translation.scheduled_sampling(translation.Options(scheduled_sampling=0.25), updates=100)
    assert [float(rate(update)) for update in (0, 25, 50, 99)] == pytest.approx([0.0, 0.125, 0.25, 0.25])
    assert translation.scheduled_sampling(translation.Options(), updates=100) == 0.0


@pytest.fixture
def corpus(tmp_path):
    for part in ("train", "val", "test"):
        for language in ("en", "fr"):
            (tmp_path / f"{part}.{language}").write_text("one two\nthree four\n" * 10, encoding="utf-8")
    return tmp_path


def test_bad_input_gets_one_line_that_names_it(corpus, capsys):
    argv = ["--data-dir", str(corpus), "--run", str(corpus / "run"), "--export", str(corpus / "export")]
    assert "nowhere" in error_of(translation, capsys, "--data-dir", str(corpus / "nowhere"))
    assert "--valid-source" in error_of(translation, capsys, "--train-source", str(corpus / "train.en"))
    sampling = ["--architecture", "transformer", "--scheduled-sampling", "0.1"]
    assert "--scheduled-sampling requires a recurrent" in error_of(translation, capsys, *argv, *sampling)
    (corpus / "train.fr").write_text("un\n")
    message = error_of(translation, capsys, *argv)
    assert "train.en has 20" in message and "train.fr has 1" in message
    (corpus / "train.fr").write_bytes(b"un\n\xff\n" * 10)
    assert "train.fr:2" in error_of(translation, capsys, *argv)
    (corpus / "train.fr").write_text("\n" * 20)
    assert "20 with an empty side" in error_of(translation, capsys, *argv)
    (corpus / "train.fr").write_text("un deux\n" * 20)
    assert "--max-length 2" in error_of(translation, capsys, *argv, "--max-length", "2", "--vocabulary", "words")


def test_a_folder_that_holds_another_run_is_left_alone(corpus, capsys):
    folder = corpus / "run"
    folder.mkdir()
    (folder / "config.json").write_text('{"units": 3}')
    message = error_of(translation, capsys, "--run", str(folder), "--numbers", "40")
    assert str(folder) in message and "units" in message
    assert (folder / "config.json").read_text() == '{"units": 3}'


def test_named_files_name_the_languages():
    def languages(source, target):
        files = {"train_source": pathlib.Path(source), "train_target": pathlib.Path(target)}
        options = translation.with_defaults(translation.Options(**files))
        return options.source, options.target

    assert languages("a/train.en", "a/train.de.gz") == ("en", "de")
    assert languages("long.txt", "short.txt") == languages("pairs", "en") == ("en", "fr")


def test_pairs_of_one_file(tmp_path):
    for part in ("train", "val", "test"):
        (tmp_path / f"{part}.tsv").write_text(f"cat\tK AE T\n{part}\tD AO G\n")
    parts = translation.read(translation.Options(data_dir=tmp_path))
    assert {name: text.sources for name, text in parts.items()} == {
        "train": ["cat", "train"],
        "valid": ["cat", "val"],
        "test": ["cat", "test"],
    }
    files = {f"{part}_source": tmp_path / f"{name}.tsv" for part, name in (("train", "train"), ("test", "test"))}
    with pytest.raises(ValueError, match="Missing beside --train-source: --valid-source, --valid-target"):
        translation.read(translation.Options(**files))
    found = translation.read(translation.Options(**files, valid_source=tmp_path / "val.tsv"))
    assert found["valid"].targets == ["K AE T", "D AO G"]
    del files["test_source"]
    assert set(translation.read(translation.Options(**files, valid_source=tmp_path / "val.tsv"))) == {"train", "valid"}
