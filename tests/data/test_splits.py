import pytest

from keras_seq.data import find_splits

ENDINGS = ("tsv", "csv")


def folder_of(tmp_path, *names):
    for name in names:
        (tmp_path / name).write_text("x")
    return tmp_path


def test_parts_are_found_by_their_names(tmp_path):
    folder = folder_of(tmp_path, "train.tsv", "dev.csv.gz", "test_2016.tsv", "test.txt", "README")
    found = {part: path.name for part, path in find_splits(folder, ENDINGS).items()}
    assert found == {"train": "train.tsv", "valid": "dev.csv.gz", "test": "test_2016.tsv"}


def test_what_is_not_needed_may_be_missing(tmp_path):
    folder = folder_of(tmp_path, "train.tsv")
    assert list(find_splits(folder, ENDINGS, needed=["train"])) == ["train"]
    with pytest.raises(
        FileNotFoundError, match=r"no file named valid\*\.tsv or val\*\.tsv or .*dev\*\.csv \(or \.gz\)"
    ):
        find_splits(folder, ENDINGS)


def test_two_that_could_be_meant_and_no_folder(tmp_path):
    folder = folder_of(tmp_path, "train.tsv", "train.csv")
    with pytest.raises(ValueError, match="several files match: train.csv, train.tsv"):
        find_splits(folder, ENDINGS, needed=["train"])
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        find_splits(tmp_path / "nowhere", ENDINGS)


def test_a_file_is_the_training_split(tmp_path):
    folder_of(tmp_path, "mails.csv.gz", "mails.txt")
    assert find_splits(tmp_path / "mails.csv.gz", ENDINGS, needed=["train"]) == {"train": tmp_path / "mails.csv.gz"}
    for name, needed in (("mails.txt", ["train"]), ("mails.csv.gz", ["train", "valid"])):
        with pytest.raises(FileNotFoundError, match=rf"{name} is a file. Put it .*train\*.tsv or train\*.csv"):
            find_splits(tmp_path / name, ENDINGS, needed=needed)
