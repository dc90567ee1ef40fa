import gzip
import hashlib
import io
import os
import stat
import sys
import tarfile
import zipfile

import pytest

from keras_seq import data

CONTENT = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def fetched(server, tmp_path):
    """Fetches `/file` into a folder of its own, without waiting between attempts."""
    server.files["/file"] = CONTENT

    def fetch(**options):
        return data.download(f"{server.url}/file", tmp_path / "new" / "file", **{"pause": 0, **options})

    return fetch


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_once_and_alone(fetched, server, tmp_path):
    path = fetched(sha256=DIGEST.upper())
    assert path == tmp_path / "new" / "file" and path.read_bytes() == CONTENT
    assert names(path.parent) == ["file"] and data.sha256_of(path) == DIGEST
    fetched(sha256=DIGEST)
    assert server.asked == [("/file", None)]
    server.files["/empty"] = b""
    assert data.download(f"{server.url}/empty", tmp_path / "empty").read_bytes() == b""


def test_it_goes_on_where_the_connection_broke(fetched, server):
    server.cuts = [1000, 2000]
    assert fetched(sha256=DIGEST).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=1000-", "bytes=3000-"]


def test_the_next_call_goes_on_too(fetched, server, tmp_path):
    server.cuts = [1000]
    with pytest.raises(OSError, match="1,000 of 256,000 bytes"):
        fetched(attempts=1)
    assert names(tmp_path / "new") == ["file.part", "file.part.tag"]
    assert fetched().read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=1000-"]
    assert names(tmp_path / "new") == ["file"]


@pytest.mark.parametrize("trouble", ["no ranges", "no tag", "weak tag", "another file", "too much"])
def test_what_cannot_be_gone_on_with_begins_anew(fetched, server, tmp_path, trouble):
    server.cuts = [1000]
    server.etag = {"no tag": None, "weak tag": 'W/"one"'}.get(trouble, '"one"')
    with pytest.raises(OSError):
        fetched(attempts=1)
    server.ranges = trouble != "no ranges"
    if trouble == "another file":
        server.etag, server.files["/file"] = '"two"', CONTENT[::-1]
    if trouble == "too much":
        (tmp_path / "new" / "file.part").write_bytes(CONTENT + b"more")
    assert fetched().read_bytes() == server.files["/file"]
    assert names(tmp_path / "new") == ["file"]


def test_attempts_are_counted_as_long_as_nothing_comes(fetched, server):
    server.cuts = [100] * 20
    assert fetched(attempts=2).read_bytes() == CONTENT
    server.errors = [503, 503, 503]
    with pytest.raises(OSError, match="/file: the server answered 503"):
        data.download(f"{server.url}/file", fetched().with_name("other"), pause=0, attempts=3)
    assert len(server.asked) == 21 + 3


def test_a_file_that_is_not_there_is_not_asked_for_again(server, tmp_path):
    path = tmp_path / "gone.txt"
    with pytest.raises(OSError) as raised:
        data.download(f"{server.url}/gone.txt", path, pause=0)
    told = str(raised.value)
    assert f"{server.url}/gone.txt" in told and "404" in told and str(path) in told and len(server.asked) == 1


def test_without_a_connection_the_error_names_file_address_and_place(server, tmp_path):
    url = server.url.replace("127.0.0.1", "127.0.0.2")  # nobody listens there
    with pytest.raises(OSError) as raised:
        data.download(f"{url}/a.txt", tmp_path / "a.txt", attempts=1)
    told = str(raised.value)
    assert "a.txt could not be downloaded" in told and f"{url}/a.txt" in told and str(tmp_path / "a.txt") in told


def test_another_digest_is_refused_and_the_file_removed(fetched, server, tmp_path):
    other = "0" * 64
    with pytest.raises(ValueError) as raised:
        fetched(sha256=other)
    assert DIGEST in str(raised.value) and other in str(raised.value) and server.url in str(raised.value)
    assert names(tmp_path / "new") == []
    path = fetched()
    with pytest.raises(ValueError, match=f"{DIGEST}.*{other}"):
        fetched(sha256=other)
    assert path.read_bytes() == CONTENT  # somebody else's is left alone


def test_a_full_disk_is_told_at_once(fetched, server, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(OSError, match=r"file could not be written \(.* MB are free\).*No space left") as raised:
        fetched()
    monkeypatch.undo()
    assert raised.value.errno == 28 and len(server.asked) == 1


def test_progress_is_told_in_lines(fetched, server, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["keras_seq.data.download"], "_LOG_SECONDS", 0.0)  # the function has its name
    fetched()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "file: 0.1 of 0.3 MB" and lines[-1] == "file: 0.3 of 0.3 MB"


def test_progress_in_one_line_of_a_terminal(monkeypatch, capsys):
    module, seconds = sys.modules["keras_seq.data.download"], iter([0.0, 0.01, 5.0, 5.01, 5.02])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(module.time, "monotonic", lambda: next(seconds))
    with module._progress("file") as tell:
        for done in (1, 2, 3, 4):  # too soon, told, too soon, the end
            tell(done * 100_000, 400_000)
    assert capsys.readouterr().err == "\rfile: 0.2 of 0.4 MB\033[K\rfile: 0.4 of 0.4 MB\033[K\n"


# Archives


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def tarred(path, members):
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


MEMBERS = {"a/b.txt": b"b", "c.txt": b"c"}


@pytest.mark.parametrize(("pack", "name"), [(zipped, "x.zip"), (tarred, "x.tar.gz"), (tarred, "x.tgz")])
def test_archives_become_folders(tmp_path, pack, name):
    folder = data.unpack(pack(tmp_path / name, MEMBERS), tmp_path / "in" / "x")
    assert (folder / "a" / "b.txt").read_bytes() == b"b" and (folder / "c.txt").read_bytes() == b"c"
    assert names(tmp_path / "in") == ["x"]
    with pytest.raises(FileExistsError, match="x exists already"):
        data.unpack(tmp_path / name, folder)


def test_a_gz_becomes_a_file(tmp_path):
    (tmp_path / "train.en.gz").write_bytes(gzip.compress(CONTENT))
    assert data.unpack(tmp_path / "train.en.gz", tmp_path / "train.en").read_bytes() == CONTENT


def linked(path, members):
    with tarfile.open(path, "w:gz") as file:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "../../outside"
        file.addfile(info)
    return path


def zip_linked(path, members):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(info, "../../outside")
    return path


@pytest.mark.parametrize(
    ("pack", "name", "member"),
    [
        (zipped, "x.zip", "../outside.txt"),
        (zipped, "x.zip", "a/../../outside.txt"),
        (zipped, "x.zip", "/outside.txt"),
        (zipped, "x.zip", "..\\outside.txt"),
        (zipped, "x.zip", "C:/outside.txt"),
        (tarred, "x.tar.gz", "../outside.txt"),
        (tarred, "x.tar.gz", "a/../../outside.txt"),
        (linked, "x.tar.gz", ""),
        (zip_linked, "x.zip", ""),
    ],
)
def test_nothing_is_written_outside_the_folder(tmp_path, pack, name, member):
    archive = pack(tmp_path / name, {"inside.txt": b"i", member: b"o"})
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match=f"{name} cannot be unpacked"):
        data.unpack(archive, tmp_path / "in" / "x")
    assert names(tmp_path / "in") == [] and names(tmp_path) == ["in", name]


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.gz", "x.rar"])
def test_damaged_archives_are_named(tmp_path, name):
    packed = {"x.zip": zipped, "x.tar.gz": tarred}.get(name)
    path = tmp_path / name
    content = packed(path, {"a": os.urandom(5000)}).read_bytes() if packed else gzip.compress(os.urandom(5000))
    path.write_bytes(content[:2000])
    with pytest.raises(ValueError, match=f"{name} cannot be unpacked"):
        data.unpack(path, tmp_path / "out")
    assert names(tmp_path) == [name]
