"""The recipe as its users run it: it hears dialled digits, also many more of them, exports, and names bad input."""

import dataclasses
import json
import wave

import jiwer
import keras
import numpy as np
import pytest
import soundfile

import keras_seq
from keras_seq import cli, data, experiment
from recipes import speech
from recipes.public import free_spoken_digits
from recipes.synthetic import dial_tones
from tests.recipes.finished import OPENED_LONG, check_config
from tests.recipes.pages import FAR, error_of, evaluated, run_page, runner

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

TINY = speech.Options(takes=20, strings=12, copies=1, epochs=1, units=8, max_digits=2, average=1)
run_in = runner(speech, TINY)


def metrics_of(run):
    return {(entry["metric"], entry["split"]): entry for entry in json.loads((run / "metrics.json").read_text())}


@pytest.fixture(scope="module")
def begun(made_once):
    """A run of an epoch, exported."""
    return made_once("speech-begun", lambda folder: run_in(folder, num_layers=1, architecture="rnn"))


@pytest.fixture(scope="module")
def learned(made_once):
    """The demo's run, on shorter strings and for fewer epochs, exported. Seeds 2 and 3 learn as well as 1."""
    return made_once("speech", lambda folder: run_in(folder, speech.Options(), max_digits=3, strings=700, epochs=8))


@pytest.mark.long
def test_it_hears_strings_and_those_twice_as_long(learned):
    found = metrics_of(learned / "run")
    assert found["word error rate", "test"]["value"] < 0.1  # who hears nothing: 1.0; who always says "one": 0.9 or more
    assert found["word error rate", "test, 6 digits"]["value"] < 0.1
    assert found["exact match", "test"]["recipe"] == "recipes.speech"


def test_it_leaves_what_it_promises(begun):
    run = begun / "run"
    for name in ("config.json", "history.csv", "best.keras", "vocabulary/joint.words", "test.txt", "long.txt"):
        assert (run / name).stat().st_size > 0, name
    for name in ("learning_curve.png", "alignment.png"):
        assert (run / "plots" / name).read_bytes().startswith(b"\x89PNG"), name
    assert (begun / "export" / "saved_model.pb").exists()
    said, heard = (run / "test.txt").read_text().splitlines()[0].split("\t")
    assert said.split() and {*said.split(), *heard.split()} <= set(dial_tones.NAMES)
    assert "val_word_error_rate" in (run / "history.csv").read_text().splitlines()[0]


def write_recordings(folder, audio, texts):
    """A sound file of each recording, in floats, and a table of them."""
    rows = ["path\tsentence"]
    for number, (waveform, words) in enumerate(zip(audio.waveforms, texts, strict=True)):
        soundfile.write(folder / f"{number}.wav", waveform, audio.sampling_rate, subtype="FLOAT")
        rows.append(f"{number}.wav\t{words}")
    (folder / "test.tsv").write_text("\n".join(rows) + "\n")
    return folder / "test.tsv"


@pytest.mark.long
def test_evaluate_gives_the_scores_of_the_recipe(begun, capsys, tmp_path):
    options = cli_options(begun / "run")
    audio = speech.read(options)["test"]
    table = write_recordings(tmp_path, audio, speech.texts(audio))
    expected = metrics_of(begun / "run")
    for folder in ("run", "export"):
        record = evaluated(capsys, begun / folder, table)
        assert record["word_error_rate"] == pytest.approx(expected["word error rate", "test"]["value"], abs=1e-4)
        assert record["exact_match"] == pytest.approx(expected["exact match", "test"]["value"], abs=1e-4)
        assert record["character_error_rate"] > 0


def cli_options(run):
    """The options of a run, from its configuration."""
    config = json.loads((run / "config.json").read_text())
    names = {field.name for field in dataclasses.fields(speech.Options)}
    return speech.Options(**{name: value for name, value in config.items() if name in names})


@OPENED_LONG
def test_the_task_gives_the_measured_figures(begun, place):
    task, found = keras_seq.load(begun / place), metrics_of(begun / "run")
    parts = speech.recordings(experiment.with_defaults(TINY), speech.read_takes(TINY))
    for part, split in (("test", "test"), ("long", "test, 4 digits")):
        texts = [" ".join(dial_tones.NAMES[digit] for digit in label) for label in parts[part].labels]
        transcripts = task(parts[part].waveforms)
        rows = [line.split("\t") for line in (begun / "run" / f"{part}.txt").read_text().splitlines()]
        assert [list(row) for row in zip(texts, transcripts, strict=True)] == rows
        assert jiwer.wer(texts, transcripts) == pytest.approx(found["word error rate", split]["value"], abs=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("place", ["run", "export"])
def test_the_task_of_single_digits_gives_the_measured_figure(made_once, place):
    root = made_once("speech-isolated", lambda folder: run_in(folder, task="isolated", architecture="rnn"))
    test = dial_tones.takes(20, 20, 1)["test"]
    predicted = keras_seq.load(root / place)(test.waveforms)
    accuracy = np.mean(np.array(predicted) == np.array(dial_tones.NAMES)[test.labels])
    assert accuracy == pytest.approx(metrics_of(root / "run")["accuracy", "test"]["value"], abs=1e-4)


def test_the_config_gives_the_same_options(begun):
    check_config(speech, begun / "run", dataclasses.replace(TINY, num_layers=1, architecture="rnn"))
    argv = ["--feature-normalization", "none"]
    assert cli.parse(speech.Options, argv).feature_normalization == "none"  # no normalization, and not the default


@pytest.mark.long
def test_padding_changes_nothing(learned):
    transcribe = keras_seq.load(learned / "run")
    strings = data.concatenate_recordings(dial_tones.takes(20, 20, 5)["test"], [1, 5, 2, 9], seed=5)
    together = transcribe(strings.waveforms)
    assert together == [transcribe([waveform])[0] for waveform in strings.waveforms]
    assert len(set(together)) == 4


@pytest.mark.long
def test_it_hears_single_digits(tmp_path):
    run = run_in(tmp_path, speech.Options(), task="isolated", takes=200, epochs=8)
    assert metrics_of(run)["accuracy", "test"]["value"] > 0.9  # by chance: 0.1
    assert (run / "plots" / "confusion.png").read_bytes().startswith(b"\x89PNG")
    name, label, _ = (run / "test.txt").read_text().splitlines()[3].split("\t")
    assert (name, label) == ("take 3", "three")


@pytest.mark.long
@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "rnn", "attention": "additive", "method": "attention"},
        {"architecture": "transformer", "num_heads": 2},
        {"architecture": "transformer", "method": "attention", "num_heads": 2},
        {"architecture": "gru", "method": "attention"},
        {"architecture": "mingru", "task": "isolated"},
        {"architecture": "minlstm"},
        {"architecture": "rglru"},
    ],
    ids=lambda changes: f"{changes['architecture']}-{changes.get('method', 'ctc')}",
)
def test_every_architecture_runs_to_the_end_on_files(tmp_path, changes):
    write_takes(tmp_path)
    run = run_in(tmp_path, data_dir=tmp_path, num_layers=1, **changes)
    assert all(entry["value"] >= 0 for entry in metrics_of(run).values())
    assert (tmp_path / "export" / "saved_model.pb").exists()
    assert changes.get("task") == "isolated" or (run / "plots" / "alignment.png").stat().st_size > 0
    assert (run / "vocabulary" / "labels.txt").exists() == (changes.get("task") == "isolated")


@pytest.mark.long
def test_a_decoder_hears_strings_too(tmp_path):
    # Not all first weights find in so few strings where to look: those of seeds 2 and 3 do, those of 1 do not.
    run = run_in(tmp_path, speech.Options(seed=2), method="attention", max_digits=3, strings=1_000, epochs=24)
    assert metrics_of(run)["word error rate", "test"]["value"] < 0.3


def write_takes(folder, takes=range(5, 17)):
    """Dialled digits as files of the data set."""
    random = np.random.default_rng(1)
    for digit in (0, 3):
        for number in takes:
            with wave.open(str(folder / f"{digit}_anna_{number}.wav"), "wb") as file:
                file.setparams((1, 2, dial_tones.RATE, 0, "NONE", ""))
                file.writeframes((dial_tones.take(digit, random) * 32767).astype("<i2").tobytes())


def test_parts_of_files_share_no_take(tmp_path):
    write_takes(tmp_path, range(50))
    parts = free_spoken_digits.takes(tmp_path)
    names = {part: {sound.path.name for sound in audio.files} for part, audio in parts.items()}
    assert {part: len(found) for part, found in names.items()} == {"train": 70, "valid": 10, "test": 10}
    assert len(set.union(*names.values())) == 90 and "3_anna_7.wav" in names["test"]
    assert all(audio.labels == [int(sound.path.name[0]) for sound in audio.files] for audio in parts.values())


def test_takes_at_another_rate(tmp_path):
    """What soundfile writes at 16 kHz in two channels is heard at 8 kHz in one; other formats are files too."""
    write_takes(tmp_path, [5, 11])
    take = data.read_audio(tmp_path / "3_anna_5.wav", dial_tones.RATE).waveform(0)
    twice = data.resampled(take, dial_tones.RATE, 2 * dial_tones.RATE)
    soundfile.write(tmp_path / "3_anna_15.flac", np.stack([twice, twice], axis=1), 2 * dial_tones.RATE)
    (tmp_path / "3_anna_11.wav").rename(tmp_path / "3_anna_11.WAV")
    (train,) = [audio for part, audio in free_spoken_digits.takes(tmp_path).items() if part == "train"]
    middle = slice(100, len(take) - 100)
    assert train.waveform(0)[middle] == pytest.approx(take[middle], abs=0.01) and train.report.resampled == 1
    assert free_spoken_digits.takes(tmp_path, 16_000)["train"].waveform(0).shape == twice.shape
    with pytest.raises(ValueError, match="--sampling-rate requires files"):
        speech.read_takes(dataclasses.replace(TINY, sampling_rate=16_000))


def test_the_published_split(real_data):
    parts = free_spoken_digits.takes(real_data("fsdd"))
    assert {part: len(audio) for part, audio in parts.items()} == {"train": 2100, "valid": 300, "test": 300}


def test_strings_are_of_the_takes_of_one_part():
    takes = dial_tones.takes(20, 20, seed=2)
    for part, audio in takes.items():  # each part says digits of its own
        digit = ["train", "valid", "test"].index(part)
        takes[part] = dataclasses.replace(audio, labels=[digit] * len(audio))
    parts = speech.recordings(TINY, takes)
    said = {part: {digit for label in audio.labels for digit in label} for part, audio in parts.items()}
    assert said == {"train": {0}, "valid": {1}, "test": {2}, "long": {2}}
    assert {len(label) for label in parts["long"].labels} == {4} and len(parts["train"]) == 12


def test_bad_input_gets_one_line_that_names_it(tmp_path, capsys):
    folder = tmp_path / "takes"
    folder.mkdir()
    argv = ["--data-dir", str(folder), "--run", str(tmp_path / "run"), "--export", str(tmp_path / "export")]
    assert "nowhere" in error_of(speech, capsys, "--data-dir", str(tmp_path / "nowhere"))
    assert "DIGIT_SPEAKER_TAKE.wav" in error_of(speech, capsys, *argv)
    write_takes(folder, range(5, 12))
    assert "'train'" in error_of(speech, capsys, *argv) and "from 15 to 49" in error_of(speech, capsys, *argv)
    write_takes(folder)
    (folder / "ten_anna_3.wav").write_bytes(b"")
    assert "ten_anna_3.wav" in error_of(speech, capsys, *argv)
    (folder / "ten_anna_3.wav").unlink()
    (folder / "3_anna_16.wav").write_bytes(b"no sound")
    assert "3_anna_16.wav is not a sound file" in error_of(speech, capsys, *argv)


@FAR
def test_the_commands_of_the_page_run(tmp_path, monkeypatch, to_the_end):
    write_takes(tmp_path)
    small = {"takes": 20, "strings": 6, "copies": 1, "units": 8, "num_layers": 1, "max_digits": 2}

    def smaller(options):
        return small | {"architecture": options.architecture or "rnn"}  # the others are slow to trace

    assert len(run_page(speech, tmp_path, monkeypatch, to_the_end, smaller)) >= 4
