import fnmatch
import gzip
import hashlib
import io
import tarfile

import pytest

from keras_seq import data
from keras_seq.data import data_sets
from keras_seq.data.data_sets import SUMS


def digest(content):
    return hashlib.sha256(content).hexdigest()


FILES = {"train.txt": b"one\ntwo\n", "new.txt": b"another state", "unknown.txt": b"who knows"}
TAKES = {f"{digit}_ann_{take}.wav": bytes([digit, take]) for digit in (0, 1) for take in (4, 5, 12)}
KNOWN = "".join(f"{digest(TAKES[name])}  {name}\n" for name in sorted(TAKES) if not name.endswith("_4.wav"))


@pytest.fixture
def table(server):
    """Two data sets that the server has: files of all kinds, and an archive."""
    server.files["/train.txt.gz"] = gzip.compress(FILES["train.txt"])
    server.files |= {f"/{name}": content for name, content in FILES.items()}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as file:
        for name, content in {**TAKES, "README.md": b"no wav"}.items():
            info = tarfile.TarInfo(f"set-master/recordings/{name}")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    server.files["/takes.tar.gz"] = archive.getvalue()
    texts = (
        data.Source("train.txt", f"{server.url}/train.txt.gz", digest(FILES["train.txt"])),
        data.Source("new.txt", f"{server.url}/new.txt", digest(b"the old state"), moves=True),
        data.Source("unknown.txt", f"{server.url}/unknown.txt"),
    )
    known, sums = ("*_[5-9].wav", "*_[1-4][0-9].wav"), digest(KNOWN.encode())
    takes = data.Archive("takes.tar.gz", f"{server.url}/takes.tar.gz", "*/recordings/*.wav", known, sums)
    return {"texts": data.DataSet("texts", "free", texts), "takes": data.DataSet("takes", "free", (takes,))}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != SUMS}


def test_a_data_set_comes_once_with_its_digests(table, server, tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.setenv("KERAS_SEQ_DATA", str(tmp_path / "home"))
    folder = data.fetch("texts", data_sets=table)
    assert folder == tmp_path / "home" / "texts" == data.data_home() / "texts"
    assert contents(folder) == FILES
    listed = dict(reversed(line.split("  ")) for line in (folder / SUMS).read_text().splitlines())
    assert listed == {name: digest(content) for name, content in FILES.items()}
    told = capsys.readouterr().err
    assert f"unknown.txt: no SHA-256 is recorded for this file. The download has {digest(FILES['unknown.txt'])}" in told
    assert "train.txt" not in told and "new.txt has the SHA-256" in caplog.text
    asked = len(server.asked)
    assert data.fetch("texts", data_sets=table) == folder and len(server.asked) == asked
    assert sorted(path.name for path in folder.parent.iterdir()) == [".texts.lock", "texts"]


def test_it_goes_on_with_the_files_that_are_missing(table, server, tmp_path):
    content = server.files.pop("/unknown.txt")
    with pytest.raises(OSError, match="unknown.txt could not be downloaded"):
        data.fetch("texts", tmp_path / "t", data_sets=table)
    assert not (tmp_path / "t").exists()
    server.files["/unknown.txt"] = content
    server.asked.clear()
    assert contents(data.fetch("texts", tmp_path / "t", data_sets=table)) == FILES
    assert server.asked == [("/unknown.txt", None)]


def test_digests_can_be_given(table, tmp_path):
    for name, given in (("train.txt", "0" * 64), ("unknown.txt", "1" * 64), ("takes.tar.gz", "2" * 64)):
        data_set = "takes" if name.startswith("takes") else "texts"
        with pytest.raises(ValueError, match=f"{name} has the SHA-256.*instead of {given}"):
            data.fetch(data_set, tmp_path / data_set, sha256={name: given}, data_sets=table)
        assert not (tmp_path / data_set).exists()
    right = {name: digest(content) for name, content in FILES.items()}
    assert contents(data.fetch("texts", tmp_path / "texts", sha256=right, data_sets=table)) == FILES


def test_an_archive_gives_its_members_and_the_known_ones_are_checked(table, server, tmp_path):
    assert contents(data.fetch("takes", tmp_path / "takes", data_sets=table)) == TAKES
    changed = table["takes"].sources[0]._replace(sha256="0" * 64)
    with pytest.raises(
        ValueError, match=f"4 checked files in takes.tar.gz .* {digest(KNOWN.encode())} instead of 0000"
    ):
        data.fetch("takes", tmp_path / "other", data_sets={"takes": data.DataSet("", "", (changed,))})
    assert not (tmp_path / "other").exists()


def test_a_folder_with_something_else_is_left_alone(table, server, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.txt").write_text("mine")
    with pytest.raises(ValueError, match="texts exists but lacks new.txt, unknown.txt"):
        data.fetch("texts", tmp_path / "texts", data_sets=table)
    assert contents(tmp_path / "texts") == {"train.txt": b"mine"} and server.asked == []
    with pytest.raises(ValueError, match="no data set 'text'. There are multi30k"):
        data.fetch("text")


@pytest.mark.parametrize("name", [name for name in data.DATA_SETS if name != "rt_polarity"])
def test_the_digests_are_those_of_the_files_here(real_data, name):
    folder = real_data(name)
    for source in data.DATA_SETS[name].sources:
        if isinstance(source, data.Source):
            assert source.sha256 is None or data.sha256_of(folder / source.name) == source.sha256
        else:
            names = [path.name for path in folder.iterdir()]
            known = sorted(each for each in names if any(fnmatch.fnmatchcase(each, known) for known in source.known))
            lines = "".join(f"{data.sha256_of(folder / each)}  {each}\n" for each in known)
            assert len(known) == 2700 and digest(lines.encode()) == source.sha256


def test_an_archive_is_unpacked_once(table, server, tmp_path):
    (source,) = table["takes"].sources
    (tmp_path / "0_ann_4.wav").touch()
    data_sets._fetch_archive(source, tmp_path, None)
    assert not server.asked and [path.name for path in tmp_path.iterdir()] == ["0_ann_4.wav"]
