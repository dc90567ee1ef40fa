"""The same command on changed data: refused in words, and nothing is written before that."""

import dataclasses
import importlib

import keras
import pytest

from keras_seq import experiment
from tests.recipes.pages import Begun

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

LABELLED = "".join(f"{('good', 'bad')[i % 2]}\tthe film was {('fine', 'dull')[i % 2]} {i}\n" for i in range(40))
TAGGED = "".join(f"dog{i}\tN\nbarks\tV\n\n" for i in range(30))
TEXT = "the cat sat on the mat, and the dog ran.\n" * 50
SERIES = "date,level\n" + "".join(f"2020-01-{1 + i // 24:02} {i % 24:02}:00,{i % 7}\n" for i in range(240))
PAIRS = {"en": "one two three\n" * 20 + "two four\n" * 10, "de": "eins zwei drei\n" * 20 + "zwei vier\n" * 10}
PARALLEL = {f"{part}.{side}": text for part in ("train", "valid", "test") for side, text in PAIRS.items()}

# By recipe: its files, what is changed in one of them, and the options that make it small.
CASES = {
    "sentiment": ({"train.tsv": LABELLED, "valid.tsv": LABELLED}, ("good\t", "nice\t"), {"units": 4}),
    "tagging": ({"train.tsv": TAGGED, "valid.tsv": TAGGED}, ("\tN", "\tNOUN"), {"units": 4}),
    "language_model": ({"train.txt": TEXT, "valid.txt": TEXT}, ("cat", "cow"), {"units": 4, "block": 8}),
    "forecasting": ({"a.csv": SERIES}, (",6\n", ",60\n"), {"look_back": 24, "horizon": (4,), "units": 4}),
    "translation": (
        PARALLEL,
        ("drei", "dry"),
        {"source": "en", "target": "de", "vocabulary": "words", "units": 4},
    ),
}


def end_at_the_run_folder(monkeypatch):
    opens = experiment.run_folder

    def opened(*arguments, **options):
        opens(*arguments, **options)
        raise Begun

    monkeypatch.setattr(experiment, "run_folder", opened)


def everything_in(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_a_run_of_other_data_is_not_continued(name, tmp_path, monkeypatch):
    files, (before, after), changes = CASES[name]
    module, folder, run = importlib.import_module(f"recipes.{name}"), tmp_path / "data", tmp_path / "run"
    folder.mkdir()
    for file, content in files.items():
        (folder / file).write_text(content)
    end_at_the_run_folder(monkeypatch)
    options = dataclasses.replace(
        module.Options(), data_dir=folder, run=run, export=tmp_path / "saved", epochs=1, **changes
    )
    for _ in range(2):  # again, on the same data
        with pytest.raises(Begun):
            module.main(options)
    for file, content in files.items():
        (folder / file).write_text(content.replace(before, after))
    as_it_was = everything_in(run)
    with pytest.raises(ValueError, match="holds a run of other data: train.* changed since it began.*--overwrite"):
        module.main(options)
    assert everything_in(run) == as_it_was
    with pytest.raises(Begun):
        module.main(dataclasses.replace(options, overwrite=True))
