"""Line and branch coverage by package, from what `make coverage` left: a table in Markdown.

.venv/bin/python -m tests.coverage_table [.coverage]
"""

import collections
import json
import pathlib
import sys
import tempfile

from coverage import Coverage

COUNTS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


def by_package(data_file: str) -> dict[str, dict[str, int]]:
    """What `COUNTS` names, for each part of keras_seq: a package, or a module that stands by itself."""
    coverage = Coverage(data_file=data_file)
    coverage.load()
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        coverage.json_report(outfile=report.name, ignore_errors=True)
        files = json.loads(pathlib.Path(report.name).read_text())["files"]
    found = collections.defaultdict(collections.Counter)
    for path, entry in files.items():
        part = pathlib.Path(path.rpartition("keras_seq/")[2]).parts[0].removesuffix(".py")
        for name in (part, "all"):
            found[name].update({count: entry["summary"][count] for count in COUNTS})
    return found


def main() -> None:
    found = by_package(sys.argv[1] if len(sys.argv) > 1 else ".coverage")
    print("| part | lines | covered | branches | covered |\n|---|---|---|---|---|")
    for name in sorted(found, key=lambda name: (name == "all", name)):
        lines, covered, branches, taken = (found[name][count] for count in COUNTS)
        share = f"{taken / branches:.2%}" if branches else "-"
        print(f"| {name} | {lines:,} | {covered / max(lines, 1):.2%} | {branches:,} | {share} |")


if __name__ == "__main__":
    main()
