import numpy as np
import pytest

from keras_seq import data

TOKENS = ["<pad>", "<unk>", "the", "film", "nowhere"]
LINES = ["the 1 2 3", "other x y", "film -1 0.5 1e-1", "the 9 9 9", "the film 7 7 7"]


@pytest.mark.parametrize("name", ["glove.txt", "glove.txt.gz", "word2vec.vec"])
def test_tokens_get_their_vectors(write, name):
    lines = [f"{len(LINES)} 3"] * name.endswith(".vec") + LINES
    found = data.read_vectors(write(name, "\n".join(lines) + "\n"), TOKENS)
    assert found.values.shape == (5, 3) and found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values[[2, 3]], np.float32([[1, 2, 3], [-1, 0.5, 0.1]]))
    assert found.found.tolist() == [False, False, True, True, False] and not found.values[0].any()
    assert (found.read, found.bad) == (5, 0)
    assert str(found) == "2 of 5 tokens (40.0%) have a vector of 3; 5 read"


def test_those_without_one_are_spread_like_the_others(write):
    tokens = [f"w{number}" for number in range(2000)]
    draw = np.random.default_rng(1)
    lines = [f"{token} " + " ".join(map(str, draw.normal(0, 0.3, 20))) for token in tokens[:1000]]
    path = write("a.txt", "\n".join(lines))
    found = data.read_vectors(path, tokens, zero=())
    assert found.values[1000:].std() == pytest.approx(found.values[:1000].std(), rel=0.05)
    np.testing.assert_array_equal(data.read_vectors(path, tokens, zero=()).values, found.values)
    assert (data.read_vectors(path, tokens, zero=(), seed=1).values[1000:] != found.values[1000:]).any()


@pytest.mark.parametrize("line", ["film 1 2", "film 1 2 x", "film 1 nan 3", "film"])
def test_a_bad_line_is_named_or_left_out(write, line):
    path = write("a.txt", f"the 1 2 3\n{line}\nother\n")
    with pytest.raises(ValueError, match=r"a.txt:2: 3 finite numbers"):
        data.read_vectors(path, TOKENS)
    found = data.read_vectors(path, TOKENS, on_bad_line="skip")
    assert (found.read, found.bad, found.found.sum()) == (3, 1, 1) and "1 of them unusable" in str(found)


def test_lines_that_are_no_text_are_left_out_too(write):
    path = write("a.txt", b"the 1 2 3\nfi\xfflm 1 2 3\n")
    with pytest.raises(ValueError, match="a.txt:2"):
        data.read_vectors(path, TOKENS)
    assert data.read_vectors(path, TOKENS, on_bad_line="skip").bad == 1


def test_files_that_are_no_vectors_are_named(write, tmp_path):
    for content in ("", "word\n", "\n"):
        with pytest.raises(ValueError, match="a.txt:1: the line must be a word and its numbers"):
            data.read_vectors(write("a.txt", content), TOKENS)
    with pytest.raises(ValueError, match="a.txt has no vector for any of the 5 tokens"):
        data.read_vectors(write("a.txt", "strange 1 2\n"), TOKENS)
    with pytest.raises(FileNotFoundError):
        data.read_vectors(tmp_path / "none.txt", TOKENS)


def test_a_word_with_a_space_has_its_vector(tmp_path):
    (tmp_path / "a.vec").write_text("4 2\n10 000 1 2\ncat 3 4\n10 5 6\n. . . 7 8\n")
    found = data.read_vectors(tmp_path / "a.vec", ["<pad>", "10 000", ". . .", "cat"])
    assert found.values[1:].tolist() == [[1, 2], [7, 8], [3, 4]]
