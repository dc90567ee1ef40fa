"""Lists the tests that `make test` can leave to the long tests, since quicker ones run the same lines and branches.

    .venv/bin/python -m tests.tiers .coverage junit.xml      # as `make tiers` calls it

A test is quick if it takes less than `SECONDS`, or if it runs enough lines and branches that no quicker test runs:
`GAIN` for each of its seconds. Tests are chosen greedily by that rate. Tests of files that start processes are left as
they are, since the coverage of a process has no test's name. `covered_tests.txt` has the others. They get the markers
`long` and `covered`.
"""

import argparse
import collections
import contextlib
import heapq
import pathlib
import re
import sqlite3
import xml.etree.ElementTree as ET

LIST = pathlib.Path(__file__).with_name("covered_tests.txt")
SECONDS, GAIN = 0.7, 2.0
_PROCESSES = re.compile(r"subprocess|launched\(|running\(|Popen")

Arc = tuple[str, int, int]


def arcs_of_tests(coverage: str) -> dict[str, set[Arc]]:
    """The pairs of lines in keras_seq that each test ran one after the other. Coverage.py documents these tables. Its
    functions take minutes for as many tests."""
    found = collections.defaultdict(set)
    with contextlib.closing(sqlite3.connect(coverage)) as data:
        rows = data.execute(
            "select context.context, file.path, fromno, tono from arc join file on file.id = file_id "
            "join context on context.id = context_id where context.context != '' and file.path like '%keras_seq/%'"
        )
        for context, *arc in rows:
            found[context.partition("|")[0]].add(tuple(arc))
    return found


def seconds_of_tests(junit: str) -> dict[str, float]:
    seconds = collections.Counter()
    for case in ET.parse(junit).iter("testcase"):
        if case.get("classname"):  # not a file that was skipped as a whole
            seconds[f"{_file_and_class(case.get('classname'))}::{case.get('name')}"] += float(case.get("time"))
    return dict(seconds)


def _file_and_class(name: str) -> str:
    """`tests.a.test_b.TestC` is `tests/a/test_b.py::TestC`, and `tests.a.test_b` the file alone."""
    module, _, kind = name.rpartition(".")
    file = pathlib.Path(*name.split(".")).with_suffix(".py")
    return file.as_posix() if file.exists() else f"{_file_and_class(module)}::{kind}"


def covered(arcs: dict[str, set[Arc]], seconds: dict[str, float], starts_processes: set[str]) -> list[str]:
    """The tests that are not quick, in order."""
    slow = {test for test in seconds if seconds[test] >= SECONDS and test.partition("::")[0] not in starts_processes}
    seen = set().union(*(arcs.get(test, ()) for test in seconds.keys() - slow))

    def rate(test):
        return len(arcs.get(test, set()) - seen) / seconds[test]

    # A rate only falls while tests are chosen, so the first whose rate has not changed is the best.
    heap = [(-rate(test), test) for test in slow]
    heapq.heapify(heap)
    while heap and -heap[0][0] >= GAIN:
        _, test = heapq.heappop(heap)
        if (now := rate(test)) >= GAIN and heap and -heap[0][0] > now:
            heapq.heappush(heap, (-now, test))
        elif now >= GAIN:
            slow.remove(test)
            seen |= arcs[test]
    return sorted(slow)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("coverage", help="file of `pytest --cov --cov-context=test`")
    parser.add_argument("junit", help="file of `pytest --junitxml` of the same run")
    arguments = parser.parse_args()
    seconds = seconds_of_tests(arguments.junit)
    files = {test.partition("::")[0] for test in seconds}
    starts_processes = {file for file in files if _PROCESSES.search(pathlib.Path(file).read_text(encoding="utf-8"))}
    tests = covered(arcs_of_tests(arguments.coverage), seconds, starts_processes)
    LIST.write_text("".join(f"{test}\n" for test in tests), encoding="utf-8")
    share = sum(map(seconds.get, tests)) / sum(seconds.values())
    print(f"{len(tests):,} of {len(seconds):,} tests, {share:.0%} of the seconds, are left to the long tests: {LIST}")


if __name__ == "__main__":
    main()
