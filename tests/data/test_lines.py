import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_seq.data import lines


def reference(content: bytes) -> list[bytes]:
    """By hand: character after character; where no line feed ends a line, carriage returns do."""
    found, line = [], b""
    if 10 not in content and 13 in content.strip(b"\r"):
        content = bytes(10 if byte == 13 else byte for byte in content)
    for byte in content:
        line += bytes([byte])
        if byte == 10:
            found.append(line)
            line = b""
    unmarked = [line[3:] if line[:3] == b"\xef\xbb\xbf" else line for line in [*found, line]]
    return [line.removesuffix(b"\n").rstrip(b"\r") for line in unmarked if line]


PARTS = st.sampled_from(
    [b"a", b"bc", b" ", b"\r", b"\n", b"\n", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", "é".encode(), "\u2028".encode()]
)


@given(st.lists(PARTS).map(b"".join), st.integers(1, 9), st.booleans())
def test_like_a_reader_by_hand_at_any_block_size(tmp_path_factory, content, size, zipped):
    path = tmp_path_factory.getbasetemp() / ("lines.gz" if zipped else "lines.txt")
    path.write_bytes(gzip.compress(content) if zipped else content)
    wanted = reference(content)

    def text(line):
        try:
            return None if b"\0" in line else line.decode()
        except UnicodeDecodeError:
            return None

    texts = [text(line) for line in wanted]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_BLOCK_BYTES", size)
        assert list(lines.raw_lines(path)) == wanted
        assert lines.count_lines(path) == len(wanted)
        assert list(lines.read_lines(path, "skip")) == list(enumerate(texts, start=1))
        assert [line for block in lines.read_blocks(path, "skip") for line in block] == texts
        if None in texts:
            for read in (lambda path: lines.count_lines(path, "error"), lambda path: list(lines.read_lines(path))):
                with pytest.raises(ValueError, match=f":{texts.index(None) + 1}: byte "):
                    read(path)
        else:
            assert lines.count_lines(path, "error") == len(wanted)
            assert [line for _, line in lines.read_lines(path)] == texts


def test_only_a_line_feed_ends_a_line(write):
    inside = "a\u2028b\u0085c\x0cd\x1ce\rf"
    path = write("a.en", b"\xef\xbb\xbf" + inside.encode() + b"\r\nx\n")
    assert list(lines.read_lines(path)) == [(1, inside), (2, "x")]


def test_bad_lines_are_named_to_the_byte(write):
    with pytest.raises(ValueError, match=r'a\.en:2: byte 3 of the line \(0xff\) is not valid.*on_bad_line="skip"'):
        list(lines.read_lines(write("a.en", b"one\ntw\xffo\nthree")))
    with pytest.raises(ValueError, match=r"b\.en:3: byte 2 of the line is NUL.*UTF-16"):
        list(lines.read_lines(write("b.en", b"\n\nx\0\n")))
    with pytest.raises(ValueError, match=r"c\.en:1: byte 1 of the line \(0xff\)"):
        list(lines.read_lines(write("c.en", "one\n".encode("utf-16"))))
    with pytest.raises(ValueError, match="'ignore'"):
        lines.read_lines(write("d.en", b""), "ignore")


def test_a_block_with_a_bad_line_keeps_its_good_ones(write):
    content = b"x\n" * 90_000 + b"\xff\n" + b"y\r\n" * 90_000  # several blocks
    found = list(lines.read_lines(write("a.en", content), "skip"))
    assert [number for number, _ in found] == list(range(1, 180_002))
    assert [text for _, text in found] == ["x"] * 90_000 + [None] + ["y"] * 90_000


def test_damaged_gzip(write, tmp_path):
    content = b"".join(b"%d\n" % (i * i) for i in range(200_000))
    whole = write("whole.gz", content).read_bytes()
    assert lines.count_lines(tmp_path / "whole.gz") == 200_000
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    damaged = {"cut.gz": whole[: len(whole) // 2], "plain.gz": content, "broken.gz": bytes(broken)}
    for name, data in damaged.items():
        (tmp_path / name).write_bytes(data)
        for read in (lines.count_lines, lambda path: list(lines.raw_lines(path))):
            with pytest.raises(ValueError, match=rf"{name} is damaged somewhere after line \d[\d,]*: .*Recreate it"):
                read(tmp_path / name)


def test_constant_memory(write):
    path = write("a.en.gz", b"a line of some words\n" * 500_000)  # 10 MB
    tracemalloc.start()
    try:
        assert sum(1 for _ in lines.raw_lines(path)) == 500_000
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()


def test_paths(write, tmp_path):
    path = write("a.en", b"")
    assert lines.as_paths(path) == lines.as_paths(str(path)) == lines.as_paths((path,)) == [path]
    assert lines.as_paths([str(path), path]) == [path, path]
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        lines.as_paths([path, tmp_path / "nowhere"])
    with pytest.raises(FileNotFoundError, match="is not a file"):
        lines.as_paths(tmp_path)
    with pytest.raises(ValueError, match="at least one"):
        lines.as_paths([])


def test_what_is_mended_is_told(tmp_path, caplog):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\ntwo\n\xef\xbb\xbfthree\n")  # two files, joined
    assert list(lines.raw_lines(tmp_path / "a")) == [b"one", b"two", b"three"]
    assert f"{tmp_path / 'a'} has a byte order mark at the beginning of 1 of its lines" in caplog.text
    caplog.clear()
    (tmp_path / "b").write_bytes(b"one\rtwo\r\rfour")
    assert list(lines.raw_lines(tmp_path / "b")) == [b"one", b"two", b"", b"four"]
    assert f"{tmp_path / 'b'} has no line feed" in caplog.text
    caplog.clear()
    for content in (b"a\rb\n", b"ab\r", b"\xef\xbb\xbfab\n", "a\ufeffb\n".encode()):
        (tmp_path / "c").write_bytes(content)
        assert lines.count_lines(tmp_path / "c") == 1 and not caplog.text
