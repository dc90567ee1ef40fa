"""Downloads files from the internet: resumes broken downloads, checks digests, unpacks, and writes atomically."""

import contextlib
import errno
import gzip
import hashlib
import http.client
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CHUNK = 1 << 16
_TERMINAL_SECONDS, _LOG_SECONDS = 0.5, 10.0
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def download(
    url: str,
    path: str | os.PathLike,
    *,
    sha256: str | None = None,
    attempts: int = 4,
    timeout: float = 30.0,
    pause: float = 1.0,
) -> Path:
    """Downloads one file, with progress on stderr. An existing file is not downloaded again.

    If the connection breaks or the process ends, the downloaded part stays in `NAME.part`. The next attempt or call
    requests only the rest, if the server confirms that the file is unchanged. The file appears under its name once it
    is complete and checked. The similar `keras.utils.get_file` starts from the beginning each time, and writes directly
    to the final name.

    Args:
        url: URL of the file.
        path: path to write. Missing folders are created.
        sha256: hexadecimal digest. A file with another digest is refused, and removed if it was just downloaded.
        attempts: number of connections in a row that may fail or break without any progress.
        timeout: seconds without a byte after which a connection counts as broken.
        pause: seconds before the second attempt, doubled for each further one.
    Returns:
        `path`.
    Raises:
        ValueError: if the digest differs. The message holds both.
        OSError: if the file cannot be downloaded or written. The message holds the file, the URL, the reason and the
            remedy.
    """
    path = Path(path)
    if path.exists():
        _check_digest(path, sha256, f"Remove it to download it again from {url}")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    failures, farthest = 0, 0
    while True:
        try:
            _receive(url, part, timeout)
            break
        except (OSError, http.client.HTTPException) as error:
            if _no_room(error):
                raise _not_written(path, url, error) from error
            come = part.stat().st_size if part.exists() else 0
            failures, farthest = (0 if come > farthest else failures) + 1, max(come, farthest)
            final = getattr(error, "code", 500) < 500  # for example 404, which a retry does not change
            if final or failures >= attempts:
                raise _not_fetched(path, url, error) from error
        time.sleep(pause * 2 ** (failures - 1))
    try:
        _check_digest(part, sha256, f"It came from {url} and was removed. The file has changed or was damaged")
    except ValueError:
        _forget(part)
        raise
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    _forget(part)
    return path


def sha256_of(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: str | os.PathLike, target: str | os.PathLike) -> Path:
    """Unpacks an archive, completely or not at all.

    Args:
        archive: `.zip` or `.tar` (also `.tar.gz`, `.tgz`, `.tar.bz2`, `.tar.xz`), which becomes the folder `target`, or
            the `.gz` of one file, which becomes the file `target`.
        target: path to write, which must not exist yet.
    Returns:
        `target`.
    Raises:
        ValueError: if it is not such an archive, is damaged, or has a member that would be written outside the folder
            or is a device or a link out of the folder.
        FileExistsError: if `target` exists.
        OSError: if it cannot be written.
    """
    archive, target = Path(archive), Path(target)
    if target.exists():
        raise FileExistsError(f"{target} exists already. Remove it, or unpack {archive.name} elsewhere.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        unpacked = Path(folder, "unpacked")
        try:
            if archive.name.endswith(_TARS):
                with tarfile.open(archive) as tar:
                    tar.extractall(unpacked, filter="data")
            elif archive.suffix == ".zip":
                _unzip(archive, unpacked)
            elif archive.suffix == ".gz":
                with gzip.open(archive) as source, open(unpacked, "wb") as file:
                    shutil.copyfileobj(source, file)
            else:
                raise ValueError(f"the name must end in .zip, .gz or one of {', '.join(_TARS)}")
        except (ValueError, EOFError, tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{archive} cannot be unpacked: {error}.") from error
        os.rename(unpacked, target)
    return target


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            name = PurePosixPath(member.filename.replace("\\", "/"))
            outside = name.is_absolute() or ".." in name.parts or ":" in name.parts[0] if name.parts else False
            if outside or stat.S_ISLNK(member.external_attr >> 16):
                raise ValueError(f"its member {member.filename!r} is a link, or leads out of the folder")
        folder.mkdir()
        file.extractall(folder)


def _receive(url: str, part: Path, timeout: float) -> None:
    """Completes `part`, from its existing bytes if the server can resume the same file."""
    tag = _tag_file(part)
    begun = part.stat().st_size if part.exists() and tag.exists() else 0
    headers = {"User-Agent": "keras-seq", "Accept-Encoding": "identity"}
    if begun:
        headers |= {"Range": f"bytes={begun}-", "If-Range": tag.read_text()}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not begun:
            raise
        _forget(part)  # it is longer than the file
        return _receive(url, part, timeout)
    with answer, _progress(part.name.removesuffix(".part")) as tell:
        goes_on = answer.status == 206 and (answer.headers["Content-Range"] or "").startswith(f"bytes {begun}-")
        begun = begun if goes_on else 0
        length = answer.headers["Content-Length"]
        total = begun + int(length) if length is not None else None
        if not begun:
            _forget(part)
        validator = answer.headers["ETag"] or answer.headers["Last-Modified"]
        if validator and not validator.startswith("W/"):  # a weak one may stand for different bytes
            tag.write_text(validator)
        with open(part, "ab") as file:
            done = begun
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                tell(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes")


def _tag_file(part: Path) -> Path:
    """The file with the server's tag of this version, without which parts of two versions might be joined."""
    return part.with_name(part.name + ".tag")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


def _check_digest(path: Path, sha256: str | None, what: str) -> None:
    if sha256 is None:
        return
    found = sha256_of(path)
    if found != sha256.lower():
        raise ValueError(f"{path.name.removesuffix('.part')} has the SHA-256 {found} instead of {sha256}. {what}.")


def _no_room(error: Exception) -> bool:
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


def _not_written(path: Path, url: str, error: OSError) -> OSError:
    room = ""
    with contextlib.suppress(OSError):
        room = f" ({shutil.disk_usage(path.parent).free / 1e6:,.0f} MB are free)"
    return OSError(
        error.errno,
        f"{path} could not be written{room} while downloading it from {url}: {error.strerror}. "
        "Free some space, or use another folder. The downloaded part is kept and is not downloaded again.",
    )


def _not_fetched(path: Path, url: str, error: Exception) -> OSError:
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    if isinstance(error, urllib.error.HTTPError):
        reason = f"the server answered {error.code} {reason}"
    return OSError(
        f"{path.name} could not be downloaded from {url}: {reason}. Try again later to resume the download, or get "
        f"the file elsewhere and put it at {path}."
    )


@contextlib.contextmanager
def _progress(name: str) -> Iterator:
    """Yields a function of the bytes done and the total. It prints one changing line on a terminal, else one every ten
    seconds."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    told, opened = time.monotonic(), False

    def tell(done: int, total: int | None) -> None:
        nonlocal told, opened
        now, whole = time.monotonic(), done == total
        if now - told < (_TERMINAL_SECONDS if terminal else _LOG_SECONDS) and not (whole and opened):
            return
        told, opened = now, terminal
        share = f" of {total / 1e6:,.1f}" if total else ""
        line = f"{name}: {done / 1e6:,.1f}{share} MB"
        print(f"\r{line}\033[K" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if opened:
            print(file=sys.stderr)
