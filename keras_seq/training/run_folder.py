"""The run folder: one format for training, resuming, averaging, inspecting and exporting."""

import contextlib
import csv
import errno
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

PARTS = ("config.json", "data.json", "history.csv", "metrics.json", "best.keras", "checkpoints", "vocabulary", "plots")
PARTS += ("gradients.csv",)
FAILED_STEP = "nan-step-"  # begins the name of the folder of a step that was not finite
METRIC_FIELDS = ("recipe", "task", "data", "architecture", "split", "metric", "value", "seed", "command")
METRIC_FIELDS += ("seconds", "hardware", "versions")
_PACKAGES = ("keras-seq", "keras", "tensorflow", "tensorflow-text", "sentencepiece", "numpy")


_UNFINISHED = ".writing-"
_ANOTHER_FOLDER = "Name another folder (--run of a recipe), or start over in it (--overwrite, `overwrite=True`)."


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the folder of `path`, which replaces `path` when the block ends without error.

    A reader finds either the old file or the complete new one, even if the process or the machine stops. If the block
    raises, the old file stays and the temporary one is removed. The temporary name keeps the suffix, which Keras reads.

    Raises:
        OSError: if the file cannot be written. The error names the file, the reason and the remedy.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f"{_UNFINISHED}{os.getpid()}-{path.name}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_unfinished(folder: str | os.PathLike) -> None:
    """Removes unfinished files of a killed process. No other process may be writing in the folder."""
    for path in pathlib.Path(folder).glob(f"{_UNFINISHED}*"):
        path.unlink(missing_ok=True)


def _not_written(path: pathlib.Path, error: OSError) -> OSError:
    before = "the file of that name is unchanged" if path.exists() else "no file of that name was left"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with contextlib.suppress(OSError):
            before += f", {shutil.disk_usage(path.parent).free / 2**20:,.0f} MiB are free there"
        remedy = "Make room, or raise the quota or the limit on the size of files"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = f"Make the folder {path.parent} writable"
    else:
        remedy = f"Check the folder {path.parent}"
    return OSError(f"{path} could not be written ({before}): {error}. {remedy}, and run the same command again.")


def read_history(path: str | os.PathLike) -> list[dict[str, float]]:
    """Reads a `history.csv`: one dict per epoch, with `epoch` an int from 1. Empty cells are left out.

    Raises:
        ValueError: if the file is damaged. The error names the file and the remedy.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return []
    with _reading(path), open(path, encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
        return [{**row, "epoch": int(row["epoch"])} for row in rows]


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a `config.json`. Returns an empty dict if there is no such file.

    Raises:
        ValueError: if the file is damaged. The error names the file and the remedy.
    """
    return _read_json(path, {}, lambda value: isinstance(value, dict), "an object")


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads a `metrics.json`. Returns an empty list if there is no such file.

    Raises:
        ValueError: if the file is damaged. The error names the file and the remedy.
    """

    def fits(value):
        return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)

    return _read_json(path, [], fits, "a list of objects")


def _read_json(path: str | os.PathLike, default: Any, fits: Callable[[Any], bool], what: str) -> Any:
    path = pathlib.Path(path)
    if not path.exists():
        return default
    with _reading(path):
        value = json.loads(path.read_text(encoding="utf-8"))
        if not fits(value):
            raise ValueError(f"it must hold {what}, but begins with {json.dumps(value)[:40]}")
        return value


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[None]:
    try:
        if not path.is_file():  # reading a pipe would block
            raise ValueError("it is not a file")
        yield
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, csv.Error) as error:
        told = f"{type(error).__name__} {error}" if isinstance(error, KeyError | TypeError) else str(error)
        raise ValueError(f"{path} is damaged: {told}. Repair it, or move it away.") from error


def write_history(path: str | os.PathLike, rows: Iterable[Mapping[str, float]]) -> None:
    """Writes a whole `history.csv` (it is small), so that later epochs may add columns."""
    rows = list(rows)
    names = list(dict.fromkeys(["epoch", *(name for row in rows for name in row)]))
    with atomic_write(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


class Run:
    """A run folder: configuration, vocabulary, checkpoints, best model, history, metrics and plots of one training run.

    A new or empty folder becomes a new run. A folder with a run of the same configuration is opened to continue that
    run. Anything else is refused, so that no run is overwritten by accident.

    Args:
        path: path of the folder.
        config: configuration that identifies the run: any JSON values (paths become strings). None opens a run without
            comparing it.
        overwrite: whether to start over. The run's files in the folder are removed, and other files stay.
        may_change: names in `config` that may differ when a run is continued, such as `epochs`.
        data: a digest of each part of the training data by name, from `data.fingerprint`. They are written to
            `data.json`, and a run with other data is not continued.
        chief: whether this process writes. Of several workers that share the folder, one is the chief. For the others,
            nothing is written or removed, neither here nor by objects that receive this run.
    Raises:
        ValueError: if the folder has a run of another configuration (the error names the differing keys and values) or
            of other data, or has files but no run. Nothing is written then.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        config: Mapping[str, Any] | None = None,
        *,
        overwrite: bool = False,
        may_change: Iterable[str] = (),
        data: Mapping[str, str] | None = None,
        chief: bool = True,
    ):
        self.path = pathlib.Path(path)
        self.chief = chief
        self.started = time.monotonic()
        self.earlier_seconds = 0.0
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"A run needs a folder, but {self.path} is a file.")
        present = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        if present and not present & {"config.json", "history.csv", "checkpoints"}:
            raise ValueError(
                f"The folder {self.path} is not empty and has no run in it (it has {', '.join(sorted(present)[:3])}). "
                "Name another folder for this run."
            )
        if overwrite and chief:
            self._remove_parts()
        if not overwrite or chief:  # other workers may still find the old configuration
            self._check_config(config, set(may_change))
            self._check_data(data)
        if chief:
            for folder in (self.checkpoints, self.vocabulary, self.plots):
                folder.mkdir(parents=True, exist_ok=True)
        if config is not None and chief:
            write_json(self.path / "config.json", config)
        if data is not None and chief:
            write_json(self.path / "data.json", dict(data))
        rows = read_history(self.history)
        self.earlier_seconds = float(rows[-1].get("seconds", 0.0)) if rows else 0.0

    @property
    def checkpoints(self) -> pathlib.Path:
        return self.path / "checkpoints"

    @property
    def vocabulary(self) -> pathlib.Path:
        return self.path / "vocabulary"

    @property
    def plots(self) -> pathlib.Path:
        return self.path / "plots"

    @property
    def best(self) -> pathlib.Path:
        return self.path / "best.keras"

    @property
    def history(self) -> pathlib.Path:
        return self.path / "history.csv"

    @property
    def metrics(self) -> pathlib.Path:
        return self.path / "metrics.json"

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, read from `config.json`. Empty if the run was opened without one."""
        return read_config(self.path / "config.json")

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this run: this process and, up to the epoch where it resumed, the earlier ones."""
        return self.earlier_seconds + time.monotonic() - self.started

    def write(self, name: str, content: str) -> None:
        """Writes a complete text file into the folder, or none. Does nothing on a worker that is not the chief."""
        if self.chief:
            with atomic_write(self.path / name) as temporary:
                temporary.write_text(content, encoding="utf-8")

    def add_metrics(self, metrics: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Adds measured figures to `metrics.json` and returns all of them.

        Args:
            metrics: dicts with `recipe`, `task`, `data`, `architecture`, `split`, `metric`, `value`, `seed`. Missing
                values of `command`, `seconds`, `hardware` and `versions` are filled in. A figure replaces an older one
                with the same split and metric (and recipe, task, data, architecture, seed).
        Raises:
            ValueError: if a dict has a field that is not in the format, or lacks `metric` or `value`.
        """
        known = read_metrics(self.metrics)
        filled = {"command": command_line(), "seconds": round(self.seconds, 1), "hardware": hardware()}
        filled["versions"] = versions()
        for metric in metrics:
            unknown, missing = sorted(set(metric) - set(METRIC_FIELDS)), {"metric", "value"} - set(metric)
            if unknown or missing:
                raise ValueError(
                    f"A metric may have the fields {', '.join(METRIC_FIELDS)}, and must have `metric` and `value`. "
                    f"Received: {dict(metric)}"
                )
            entry = {name: ({**filled, **metric}).get(name) for name in METRIC_FIELDS}
            entry = _as_json(entry)
            known = [old for old in known if _identity(old) != _identity(entry)] + [entry]
        if self.chief:
            write_json(self.metrics, known)
        return known

    def _remove_parts(self) -> None:
        failed = [path.name for path in self.path.glob(f"{FAILED_STEP}*")]
        for name in (*PARTS, *failed):
            part = self.path / name
            if part.is_dir() and not part.is_symlink():
                shutil.rmtree(part)
            else:
                part.unlink(missing_ok=True)

    def _check_config(self, config: Mapping[str, Any] | None, may_change: set[str]) -> None:
        if config is None or not (self.path / "config.json").exists():
            return
        differences = config_differences(self.config, config, may_change)
        if differences:
            longer = f" To train it further, begin a run with its weights: --init-from {self.path}"
            longer = longer if "`epochs` was" in differences else ""
            raise ValueError(f"The folder {self.path} holds another run: {differences}. {_ANOTHER_FOLDER}{longer}")

    def _check_data(self, data: Mapping[str, str] | None) -> None:
        old = read_config(self.path / "data.json")
        different = [name for name in data or {} if old and old.get(name) != data[name]]
        if different:
            raise ValueError(
                f"The folder {self.path} holds a run of other data: {', '.join(different)} changed since it began. Its "
                f"labels, words and scales fit only the old data. Restore that. {_ANOTHER_FOLDER}"
            )


def config_differences(old: Mapping[str, Any], new: Mapping[str, Any], may_change: Iterable[str] = ()) -> str:
    """The values that differ, "`units` was 64, is now 128; ...", or "". Compares values as JSON has them."""
    new, missing = _as_json(new), object()
    return "; ".join(
        f"`{name}` was {json.dumps(old[name]) if name in old else 'absent'}, "
        f"is now {json.dumps(new[name]) if name in new else 'absent'}"
        for name in [*old, *(name for name in new if name not in old)]
        if name not in may_change and old.get(name, missing) != new.get(name, missing)
    )


def command_line() -> str:
    """The command that started this process, as typed in a shell."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return shlex.join(["python", "-m", spec.name.removesuffix(".__main__"), *sys.argv[1:]])
    return shlex.join(["python", *sys.argv])


def hardware() -> str:
    """The machine in one line: processor, number of cores available to this process, memory, and GPUs if any."""
    name, memory = platform.processor() or platform.machine(), ""
    with contextlib.suppress(OSError, StopIteration):
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    with contextlib.suppress(OSError, ValueError, AttributeError):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores{memory}{_gpus()}"


def _gpus() -> str:
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(device).get("device_name", "GPU") for device in devices]
    return "".join(f", {names.count(name)} x {name}" for name in dict.fromkeys(names))


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that a figure depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def _identity(metric: Mapping[str, Any]) -> list[Any]:
    names = ("recipe", "task", "data", "architecture", "split", "metric", "seed")
    return [metric.get(name) for name in names]


def _as_json(value: Any) -> Any:
    """The value as read back from a JSON file: tuples become lists, paths strings, NumPy numbers plain numbers."""

    def plain(other: Any) -> Any:
        return other.item() if hasattr(other, "item") else str(other)

    return json.loads(json.dumps(value if not isinstance(value, Mapping) else dict(value), default=plain))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a complete JSON file, or none. Paths become strings, NumPy numbers plain numbers."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(_as_json(value), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
