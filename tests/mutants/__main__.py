"""How many small changes to the code the tests of its package find.

    .venv/bin/python -m tests.mutants --results mutants.jsonl          # draws 120, tries each; goes on where it stopped
    .venv/bin/python -m tests.mutants --results mutants.jsonl --coverage .coverage   # the tests that run the line first
    .venv/bin/python -m tests.mutants --show 17                        # one mutant as a difference

Each mutant is written into a copy of the checkout, never into the checkout itself. A mutant is found when a test fails
or the tests take longer than `--timeout`. `--coverage` names a file that `pytest --cov --cov-context=test` left: the
tests that run the changed line are tried before the others of the package.
"""

import argparse
import collections
import dataclasses
import difflib
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time

from tests.mutants.mutations import Mutant, drawn

ROOT = pathlib.Path(__file__).parents[2]
# What is changed, and the tests that ought to notice.
AREAS = {
    "data": (("keras_seq/data",), "tests/data"),
    "decoding": (("keras_seq/decoding",), "tests/decoding"),
    "export": (("keras_seq/export",), "tests/export"),
    "fit": (("keras_seq/distribution/keras_patches.py",), "tests/distribution"),
    "layers": (("keras_seq/layers",), "tests/layers"),
    "losses": (("keras_seq/losses.py", "keras_seq/labels.py"), "tests/test_losses.py"),
}
IGNORED = shutil.ignore_patterns(".git", ".venv", "runs", "saved_models", "__pycache__", ".*_cache", ".hypothesis")


def files(sources: tuple[str, ...]) -> list[pathlib.Path]:
    paths = [ROOT / source for source in sources]
    return sorted(file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py")))


def area_of(mutant: Mutant) -> str:
    return next(name for name, (sources, _) in AREAS.items() if mutant.path.startswith(sources))


def covering(coverage: pathlib.Path | None, mutant: Mutant) -> list[str]:
    """The tests of the package that ran the line, those in small files first."""
    if coverage is None:
        return []
    from coverage import CoverageData

    data = CoverageData(str(coverage))
    data.read()
    (file,) = [file for file in data.measured_files() if file.endswith("/" + mutant.path)] or [None]
    if file is None:
        return []
    contexts = data.contexts_by_lineno(file).get(mutant.line, [])
    tests = AREAS[area_of(mutant)][1]
    ids = {context.partition("|")[0] for context in contexts}
    return sorted(test for test in ids if test.startswith(tests))


def passes(copy: pathlib.Path, tests: list[str], timeout: float) -> tuple[bool | None, str]:
    """Whether the tests pass, in a process of their own that begins with TensorFlow already there; None: too slow."""
    log = copy / "log.txt"
    child = os.fork()
    if child == 0:
        _run(copy, tests, log)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            lines = log.read_text(errors="replace").splitlines()
            failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
            return os.waitstatus_to_exitcode(status) == 0, (failed or lines[-1:] or [""])[0][:300]
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None, f"longer than {timeout:.0f} s"


def _run(copy: pathlib.Path, tests: list[str], log: pathlib.Path) -> None:
    os.setsid()
    os.chdir(copy)
    sys.path[:] = [str(copy), *(p for p in sys.path if p not in ("", str(ROOT)))]
    os.environ["PYTHONPATH"] = str(copy)  # for the processes that tests start
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    import pytest

    code = 1
    try:
        code = pytest.main(
            ["-x", "-q", "-m", "not long or covered", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no", *tests]
        )
    finally:
        os._exit(int(code))


def tried(mutant: Mutant, copy: pathlib.Path, options: argparse.Namespace) -> dict:
    """The mutant with its fate: "killed", "timeout", "survived" or "not run"."""
    began, place = time.monotonic(), copy / mutant.path
    source = place.read_text(encoding="utf-8")
    package = AREAS[area_of(mutant)][1]
    first = covering(options.coverage, mutant)
    place.write_text(mutant.applied(source), encoding="utf-8")
    try:
        fate, told = "not run", ""
        for tests in [first, [package]]:
            if not tests or (tests == [package] and options.only_covering):
                continue
            good, told = passes(
                copy, tests, options.timeout if tests is first else options.timeout + options.package_timeout
            )
            fate = {True: "survived", False: "killed", None: "timeout"}[good]
            if not good:
                break
    finally:
        place.write_text(source, encoding="utf-8")
    seconds = round(time.monotonic() - began, 1)
    return {**dataclasses.asdict(mutant), "area": area_of(mutant), "fate": fate, "by": told, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--seed", type=int, default=2014)
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("mutants.jsonl"))
    parser.add_argument("--coverage", type=pathlib.Path, help="data of coverage with a context for each test")
    parser.add_argument("--only-covering", action="store_true", help="not the package's other tests")
    parser.add_argument("--timeout", type=float, default=180)
    parser.add_argument("--package-timeout", type=float, default=900)
    parser.add_argument("--share", default="0/1", help="I/N: every N-th mutant, from the I-th: for several processes")
    parser.add_argument("--areas", nargs="+", choices=AREAS, default=list(AREAS), help="only mutants of these")
    parser.add_argument("--list", action="store_true", help="the mutants, nothing is run")
    parser.add_argument("--show", type=int, help="the number of a mutant to show as a difference")
    options = parser.parse_args()

    found = drawn({name: files(sources) for name, (sources, _) in AREAS.items()}, options.count, options.seed, ROOT)
    if options.list:
        print("\n".join(f"{number:3} {mutant}" for number, mutant in enumerate(found)))
        return
    if options.show is not None:
        source = (ROOT / found[options.show].path).read_text(encoding="utf-8")
        lines = [text.splitlines(keepends=True) for text in (source, found[options.show].applied(source))]
        sys.stdout.writelines(difflib.unified_diff(*lines, fromfile=found[options.show].path))
        return
    done = options.results.read_text().splitlines() if options.results.exists() else []
    done = {(entry["path"], entry["start"], entry["end"], entry["after"]) for entry in map(json.loads, done)}
    part, parts = map(int, options.share.split("/"))

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["PYTEST_XDIST_WORKER"] = "mutants"  # one thread, as the suite's own processes have
    import hypothesis  # noqa: F401, what every child would import, once
    import tensorflow  # noqa: F401
    import tensorflow_text  # noqa: F401

    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = shutil.copytree(ROOT, pathlib.Path(folder) / "checkout", ignore=IGNORED)
        for number, mutant in enumerate(found):
            key = (mutant.path, mutant.start, mutant.end, mutant.after)
            if number % parts != part or key in done or area_of(mutant) not in options.areas:
                continue
            entry = {"number": number, **tried(mutant, copy, options)}
            with open(options.results, "a") as file:
                print(json.dumps(entry), file=file)
            print(f"{number:3} {entry['fate']:8} {entry['seconds']:6.1f} s  {mutant}  {entry['by']}", flush=True)

    entries = [json.loads(line) for line in options.results.read_text().splitlines()]
    fates = collections.Counter((entry["area"], entry["fate"] in ("killed", "timeout")) for entry in entries)
    for area in sorted({entry["area"] for entry in entries}):
        print(f"{area:10} {fates[area, True]:3} of {fates[area, True] + fates[area, False]} found")


if __name__ == "__main__":
    main()
