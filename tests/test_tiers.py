import re

import pytest

from tests import tiers
from tests.conftest import TENSORFLOW

pytestmark = pytest.mark.skipif(not TENSORFLOW, reason="about files")


def test_a_slow_test_is_quick_only_for_lines_that_no_quicker_test_runs():
    lines = {
        "a.py::quick": "ab",
        "a.py::same": "ab",
        "a.py::more": "abcdefghijkl",
        "a.py::part": "abcd",
        "p.py::server": "a",
    }
    seconds = {"a.py::quick": 0.1, "a.py::same": 2.0, "a.py::more": 3.0, "a.py::part": 0.8, "p.py::server": 9.0}
    arcs = {test: {("file", ord(line), 0) for line in found} for test, found in lines.items()}
    assert tiers.covered(arcs, seconds, {"p.py"}) == ["a.py::part", "a.py::same"]
    arcs["a.py::part"] |= arcs["a.py::more"]  # all lines, in less time
    assert tiers.covered(arcs, seconds, {"p.py"}) == ["a.py::more", "a.py::same"]
    assert tiers.covered({}, seconds, set()) == ["a.py::more", "a.py::part", "a.py::same", "p.py::server"]


def test_names_of_a_report(tmp_path):
    report = tmp_path / "junit.xml"
    case = '<testcase classname="{}" name="test_x[1]" time="0.5" />'
    names = ["tests.test_tiers", "tests.layers.test_keras_own.AnyTest", ""]
    report.write_text(f"<testsuites>{''.join(map(case.format, names))}</testsuites>")
    assert tiers.seconds_of_tests(report) == {
        "tests/test_tiers.py::test_x[1]": 0.5,
        "tests/layers/test_keras_own.py::AnyTest::test_x[1]": 0.5,
    }


def test_the_tests_of_the_list_exist():
    """By their function: a case that is gone does no harm."""
    missing = []
    for test in tiers.LIST.read_text(encoding="utf-8").splitlines():
        file, *kind, name = test.partition("[")[0].split("::")
        path = tiers.LIST.parents[1] / file
        found = path.exists() and (kind or re.search(rf"\bdef {name}\(", path.read_text(encoding="utf-8")))
        if not found:
            missing.append(test)
    assert not missing, "Remove these lines of tests/covered_tests.txt, or run `make tiers`, which writes the file."
