"""The public data sets of the recipes: their URLs, the files in their folders, and their digests."""

import fnmatch
import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from keras_seq.data.download import download, sha256_of, unpack
from keras_seq.data.file_lock import locked

SUMS = "SHA256SUMS"


class Source(NamedTuple):
    """A file of a data set.

    Attributes:
        name: file name in the folder of the data set.
        url: URL of the file. A `.gz` file is unpacked.
        sha256: SHA-256 of the file as stored in the folder. None if this project never had the file.
        moves: whether the URL serves the latest version of data that still changes. `sha256` is then the digest of the
            version that the project's figures were measured on. Another version is accepted with a warning.
    """

    name: str
    url: str
    sha256: str | None = None
    moves: bool = False


class Archive(NamedTuple):
    """An archive of many files.

    Attributes:
        name: file name of the archive.
        url: URL of the archive.
        members: pattern of the members to put into the folder of the data set, without their directories.
        known: patterns of the members that `sha256` covers.
        sha256: digest of the lines "DIGEST  NAME" of the covered members, sorted by name, as `sha256sum` writes them.
    """

    name: str
    url: str
    members: str
    known: tuple[str, ...]
    sha256: str


class DataSet(NamedTuple):
    """A description of the data, its license terms, and its files."""

    what: str
    terms: str
    sources: tuple[Source | Archive, ...]


_GITHUB = "https://raw.githubusercontent.com"
_MULTI30K = f"{_GITHUB}/multi30k/dataset/master/data/task1/raw"
_RT_POLARITY = f"{_GITHUB}/dennybritz/cnn-text-classification-tf/a0d0e9742b3dc42194955e78858f7be93027c75e"
_LINES = f"{_GITHUB}/UniversalDependencies/UD_English-LinES/master"

DATA_SETS: Mapping[str, DataSet] = {
    "multi30k": DataSet(
        "29,000 + 1,014 + 1,000 captions of images in English, German and French",
        "research and education, not commercial",
        tuple(
            Source(name, f"{_MULTI30K}/{name}.gz", sha256)
            for name, sha256 in {
                "train.en": "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
                "train.de": "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
                "train.fr": "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d",
                "val.en": "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
                "val.de": "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
                "val.fr": "5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc",
                "test_2016_flickr.en": "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
                "test_2016_flickr.de": "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
                "test_2016_flickr.fr": "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6",
            }.items()
        ),
    ),
    "rt_polarity": DataSet(
        "5,331 positive and 5,331 negative sentences of movie reviews (Pang and Lee 2005)",
        "research",
        tuple(
            Source(name, f"{_RT_POLARITY}/data/rt-polaritydata/{name}")
            for name in ("rt-polarity.pos", "rt-polarity.neg")
        ),
    ),
    "tinyshakespeare": DataSet(
        "1,115,394 characters of Shakespeare",
        "public domain",
        (
            Source(
                "input.txt",
                f"{_GITHUB}/karpathy/char-rnn/d1d7aa34fdb3626174bce1d753e6cc6845ce7087/data/tinyshakespeare/input.txt",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
    ),
    "ett": DataSet(
        "17,420 hours of an electricity transformer: oil temperature and six loads",
        "CC BY-ND 4.0",
        (
            Source(
                "ETTh1.csv",
                f"{_GITHUB}/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv",
                "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
            ),
        ),
    ),
    "ud_lines": DataSet(
        "English LinES, a treebank of Universal Dependencies",
        "CC BY-NC-SA 4.0",
        (
            Source(
                "train.conllu",
                f"{_LINES}/en_lines-ud-train.conllu",
                "27609ded288bf3704def21f18d227e3f40957b4981174411f6bed34acf3025b6",
                moves=True,
            ),
            Source(
                "dev.conllu",
                f"{_LINES}/en_lines-ud-dev.conllu",
                "3aabd1f843517fb615c8760c316a76125af2fff01c59b9a4049fe7c393891d2b",
                moves=True,
            ),
            Source("test.conllu", f"{_LINES}/en_lines-ud-test.conllu"),
        ),
    ),
    "fsdd": DataSet(
        "3,000 recordings of spoken digits, 8 kHz, six speakers, takes 0 to 49",
        "CC BY-SA 4.0",
        (
            Archive(
                "free-spoken-digit-dataset.tar.gz",
                "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/heads/master.tar.gz",
                members="*/recordings/*.wav",
                known=("*_[5-9].wav", "*_[1-4][0-9].wav"),
                sha256="fa7464403de147881df94359e870a1a7d5420cc57cda5cad6fb4ffcf6f288669",
            ),
        ),
    ),
}


def data_home() -> Path:
    """The folder of the data sets: KERAS_SEQ_DATA, or `~/.cache/keras_seq`."""
    return Path(os.environ.get("KERAS_SEQ_DATA") or Path.home() / ".cache" / "keras_seq")


def fetch(
    name: str,
    folder: str | os.PathLike | None = None,
    *,
    sha256: Mapping[str, str] | None = None,
    data_sets: Mapping[str, DataSet] = DATA_SETS,
) -> Path:
    """Returns the folder of a public data set. The first call downloads and checks it.

    The folder appears once it is complete. Until then, downloaded files are kept beside it, in `.NAME.partial`, and the
    next call resumes from there. The digest of every file is written to `SHA256SUMS` in the folder. If the digest of a
    file is not recorded, its first download is trusted, and its digest is printed.

    Args:
        name: one of `data_sets`.
        folder: folder for this data set alone. By default `data_home() / name`.
        sha256: digests by file name, which replace those in the table.
        data_sets: the table.
    Raises:
        ValueError: if there is no such data set, the folder exists but is incomplete, or a digest differs.
        OSError: if a file cannot be downloaded or written. The message holds the file, its URL and the reason.
    """
    if name not in data_sets:
        raise ValueError(f"There is no data set {name!r}. There are {', '.join(data_sets)}.")
    sources, digests = data_sets[name].sources, dict(sha256 or {})
    folder = Path(folder) if folder is not None else data_home() / name
    with locked(folder.parent / f".{folder.name}.lock", "the data set"):
        if folder.exists():
            _check_complete(folder, sources)
            return folder
        partial = folder.with_name(f".{folder.name}.partial")
        print(f"Fetches {name}: {data_sets[name].what} ({data_sets[name].terms}).", file=sys.stderr)
        for source in sources:
            (_fetch_archive if isinstance(source, Archive) else _fetch_file)(source, partial, digests.get(source.name))
        (partial / SUMS).write_text(_sums({path.name: path for path in sorted(partial.iterdir())}), encoding="utf-8")
        os.rename(partial, folder)
    return folder


def _fetch_file(source: Source, folder: Path, digest: str | None) -> None:
    path = folder / source.name
    expected = digest or (None if source.moves else source.sha256)
    packed = source.url.endswith(".gz")
    if packed and not path.exists():
        archive = download(source.url, folder / f"{source.name}.gz")
        path = unpack(archive, path)
        archive.unlink()
    else:
        download(source.url, path, sha256=expected)
    found = sha256_of(path)
    if expected is not None and found != expected:  # of the file after unpacking
        path.unlink()
        raise ValueError(
            f"{source.name} has the SHA-256 {found} instead of {expected}. It came from {source.url} and was "
            "removed. The file has changed or was damaged."
        )
    if expected is None and source.sha256 is None:
        print(f"{source.name}: no SHA-256 is recorded for this file. The download has {found}.", file=sys.stderr)
    elif found != (expected or source.sha256):
        logging.getLogger("keras_seq").warning(
            "%s has the SHA-256 %s. The figures of this project were measured on %s: the data has a newer version.",
            *(source.name, found, source.sha256),
        )


def _fetch_archive(source: Archive, folder: Path, digest: str | None) -> None:
    archive, unpacked = folder / source.name, folder / "unpacked"
    if not archive.exists() and _holds(folder, source):
        return  # an earlier call has already unpacked it
    shutil.rmtree(unpacked, ignore_errors=True)
    download(source.url, archive, sha256=digest)
    unpack(archive, unpacked)
    try:
        paths = {str(path.relative_to(unpacked)): path for path in unpacked.rglob("*") if path.is_file()}
        kept = {path.name: path for name, path in paths.items() if fnmatch.fnmatchcase(name, source.members)}
        known = {name: kept[name] for name in _matching(kept, source.known)}
        found = hashlib.sha256(_sums(known).encode()).hexdigest()
        if found != source.sha256:
            archive.unlink()
            raise ValueError(
                f"The {len(known):,} checked files in {source.name} have together the SHA-256 {found} instead of "
                f"{source.sha256}. It came from {source.url} and was removed. The archive has changed or was damaged."
            )
        for name, path in kept.items():
            os.rename(path, folder / name)
    finally:
        shutil.rmtree(unpacked)
    archive.unlink()


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return sorted(name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns))


def _holds(folder: Path, source: Source | Archive) -> bool:
    """Whether the folder holds the file, or members of the archive."""
    pattern = Path(getattr(source, "members", source.name)).name
    return folder.exists() and bool(_matching(os.listdir(folder), [pattern]))


def _sums(paths: Mapping[str, Path]) -> str:
    """The digests of files, as `sha256sum` writes them."""
    return "".join(f"{sha256_of(path)}  {name}\n" for name, path in paths.items())


def _check_complete(folder: Path, sources: Iterable[Source | Archive]) -> None:
    missing = [source.name for source in sources if not _holds(folder, source)]
    if missing:
        raise ValueError(
            f"The folder {folder} exists but lacks {', '.join(missing)}. It holds other files or is incomplete. Remove "
            "it to download the data again, or choose another folder."
        )
