import pytest

from keras_seq.text import load_labels, save_labels


def test_names_come_back_in_their_order(tmp_path):
    names = ["so so", "good", "ü|\t", " bad"]
    save_labels(tmp_path / "labels.txt", names)
    assert load_labels(tmp_path / "labels.txt") == names
    assert (tmp_path / "labels.txt").read_bytes() == "so so\ngood\nü|\t\n bad\n".encode()


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "one name or more"),
        (["a", "b", "a"], "each once"),
        ("ab", "one name or more"),
        (["a", ""], "none empty. Received: ''"),
        (["pos", "neg", "pos "], "differ in more than white space"),
        (["a\nb"], "without line ends"),
        (["a\u2028b"], "without line ends"),
    ],
)
def test_what_no_file_can_hold_is_refused(names, told, tmp_path):
    with pytest.raises(ValueError, match=f"`labels` must hold .*{told}"):
        save_labels(tmp_path / "labels.txt", names)
    assert not list(tmp_path.iterdir())


def test_a_file_that_an_editor_has_marked(tmp_path):
    (tmp_path / "labels.txt").write_bytes("\ufeffneg\r\npos\r\n".encode())
    assert load_labels(tmp_path / "labels.txt") == ["neg", "pos"]


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "labels.txt").write_text("a\n\nb\n")
    with pytest.raises(ValueError, match="labels.txt must hold .*none empty"):
        load_labels(tmp_path / "labels.txt")
    (tmp_path / "labels.txt").write_text("")
    with pytest.raises(ValueError, match="labels.txt must hold"):
        load_labels(tmp_path / "labels.txt")
