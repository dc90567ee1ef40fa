"""The files of a run folder: its model and its vocabularies."""

import zipfile

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

from keras_seq import text
from keras_seq.tasks.run_folder import load_keras, vocabulary_files, vocabulary_sides

WORDS = text.Words(["red", "blue"])


def test_a_file_with_something_else_than_a_model(tmp_path, monkeypatch):
    file = tmp_path / "best.keras"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", "{}")
    monkeypatch.setattr(keras.models, "load_model", lambda file, compile: keras.layers.Dense(1))
    with pytest.raises(
        ValueError, match="best.keras holds a Dense, which is not a Keras model. Copy the file again, or"
    ):
        load_keras(file)


def test_vocabularies_of_two_kinds_with_one_name(tmp_path):
    folder = tmp_path / "vocabulary"
    folder.mkdir()
    WORDS.save(folder / "source.words")
    (folder / "source.bytes").write_text("")
    with pytest.raises(ValueError, match="vocabulary holds source.bytes and source.words. Move one of them away."):
        vocabulary_files(tmp_path)


def test_the_vocabularies_of_both_sides(tmp_path):
    folder = tmp_path / "vocabulary"
    folder.mkdir()
    for name in ("source.words", "target.words", "notes.txt", ".target.words"):
        WORDS.save(folder / name)
    assert vocabulary_sides(tmp_path, single=False) == (folder / "source.words", folder / "target.words")
    with pytest.raises(FileNotFoundError, match="must hold one file ending in .* It has: source.words, target.words."):
        vocabulary_sides(tmp_path, single=True)
    (folder / "target.words").unlink()
    assert vocabulary_sides(tmp_path, single=True) == (folder / "source.words",) * 2
    with pytest.raises(
        FileNotFoundError, match=r"joint.\*, or source.\* and target.\*, ending .* has: source.words. Copy"
    ):
        vocabulary_sides(tmp_path, single=False)
