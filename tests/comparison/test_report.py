"""The files of a report: the same tables in both, everything escaped, and nothing that the record lacks."""

import copy
import re
from xml.etree import ElementTree

import pytest

from keras_seq.comparison import charts, document, html, markdown, report
from tests.comparison.records import full

SECTIONS = ["How it was measured", "The lecture, measured", "Quality", "Quality by length", "Steps to remember"]
SECTIONS += ["Ease of training", "Cost", "Generation", "Feed-forward against recurrent", "All runs", "Versions"]


PLOTS = ["quality", "learning", "quality_by_length", "remembering", "grid", "time", "memory", "parallelism", "threads"]
PLOTS += ["generation"]


@pytest.fixture(scope="module")
def written(folder):
    return [(folder / name).read_text(encoding="utf-8") for name in ("report.html", "report.md")]


@pytest.fixture
def without_plots(monkeypatch):
    """Figures of one pixel: a test of texts needs no other."""

    def draw(self, name, alt, draw):
        return document.Image(self.folder / f"{name}.png", "<svg/>", alt)

    monkeypatch.setattr(charts.Charts, "_drawn", draw)


def test_the_paths_of_the_files_are_returned(tmp_path):
    record = full()
    entry = record["architectures"][1]
    small = record | {"architectures": [{"name": "gru", "best": entry["best"]}], "memory": {}}
    paths = report.write(small, tmp_path / "new")
    assert paths == [tmp_path / "new" / name for name in ("report.html", "report.md", "plots/quality.png")]
    assert paths[2].read_bytes().startswith(b"\x89PNG")
    assert {path for path in (tmp_path / "new").rglob("*") if path.is_file()} == set(paths)


def test_both_have_all_sections_and_figures(written, folder):
    page, text = written
    assert {path.stem for path in (folder / "plots").iterdir()} == set(PLOTS)
    assert re.findall(r"<h2 .*?>(.*?)</h2>", page) == SECTIONS
    assert re.findall(r"^## (.*)$", text, re.M) == SECTIONS
    images = re.findall(r"^!\[(.+?)\]\((.*?)\)$", text, re.M)
    assert [path for _, path in images] == [f"plots/{name}.png" for name in PLOTS]
    labels = re.findall(r'<figure role="img" aria-label="(.*?)"', page)
    assert len(labels) == page.count("<svg") == len(images)
    assert all("GRU" in label and re.search(r"\d", label) for label in labels)  # the finding and the numbers


def test_both_have_the_same_tables(written):
    page, text = written
    in_page = [row.count("<td") + 1 for row in re.findall(r'<tr role="row"><th scope="row".*?</tr>', page)]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    after_titles = [line for line, before in zip(text.splitlines()[1:], text.splitlines(), strict=False)]
    titles = [line for line, after in zip(text.splitlines(), after_titles, strict=False) if after.startswith("|---")]
    rows = [len(re.split(r"(?<!\\)\|", line)) - 2 for line in lines if line not in titles]
    assert rows == in_page and len(rows) > 100


def test_the_page_is_one_file_that_a_parser_reads(written):
    page = written[0]
    assert "<script" not in page and "http-equiv" not in page
    outside = re.findall(r'(?:src|href)="(?!#|data:)(.*?)"', page)
    assert outside == []
    ids = re.findall(r'\bid="(.*?)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#(.*?)"', page)) <= set(ids)
    body = page[page.index("<body>") : page.index("</html>")]
    ElementTree.fromstring(body.replace("xlink:href", "href"))  # every element is closed


def test_the_page_has_the_claims_with_their_verdicts(written):
    page = written[0]
    row = re.search(r"Training Time.*?</tr>", page, re.DOTALL)[0]
    assert re.findall(r'class="verdict (\w+)"', row) == ["yes", "partly", "partly", "no"]
    assert re.findall(r'data-column="(.*?)"', row) == ["RNN", "LSTM", "GRU", "Transformer"]
    assert "14.0 µs per token. Slower than RNN, GRU, Transformer." in row


def test_all_texts_are_escaped(tmp_path, without_plots):
    bad = '<script>alert("x")</script> & | `code` [a](b) *'
    record = full()
    record |= {"title": bad, "data": bad, "command": bad, "hardware": bad, "versions": {bad: bad}}
    record["score"] |= {"name": bad, "converged_rule": bad}
    for entry in record["architectures"]:
        entry["label"] = bad
        entry["runs"][0] |= {"status": "failed", "reason": f"{bad}\n{bad}"}
    record["feedforward"]["longer"]["error"] = bad
    page, text = (path.read_text(encoding="utf-8") for path in report.write(record, tmp_path)[:2])
    assert "<script" not in page and 'alert("' not in page and page.count("&lt;script&gt;") > 20
    prose = re.sub(r"^    .*$", "", text, flags=re.M)  # the command is a block of code
    assert "\\<script\\>" in prose and not re.search(r"(?<!\\)<script", prose) and not re.search(r"(?<!\\)\[a", prose)
    widths = {len(re.split(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("| Item")}
    assert widths == {4}


PARTS = ["memory", "feedforward", "versions", "score", "grid", "equal", "budget", "seconds", "hardware", "command"]


@pytest.mark.parametrize("missing", PARTS)
def test_a_field_that_is_missing_is_left_out(tmp_path, without_plots, missing):
    record = full()
    del record[missing]
    page = report.write(record, tmp_path)[0].read_text(encoding="utf-8")
    sections = {"memory": "Steps to remember", "feedforward": "Feed-forward against recurrent", "versions": "Versions"}
    assert re.findall(r"<h2 .*?>(.*?)</h2>", page) == [each for each in SECTIONS if each != sections.get(missing)]


@pytest.mark.parametrize(
    "missing", ["runs", "best", "converged", "quality_by_length", "cost", "units", "formula_value", "label"]
)
def test_an_architecture_without_a_field(tmp_path, without_plots, missing):
    record = full()
    for entry in record["architectures"][1:3]:
        entry.pop(missing, None)
    report.write(record, tmp_path)  # of some
    for entry in record["architectures"]:
        entry.pop(missing, None)
    page = report.write(record, tmp_path)[0].read_text(encoding="utf-8")
    gone = {"cost": {"Cost", "Generation"}, "quality_by_length": {"Quality by length"}, "best": {"Quality"}}
    gone |= {"runs": {"All runs", "Ease of training"}}
    assert re.findall(r"<h2 .*?>(.*?)</h2>", page) == [e for e in SECTIONS if e not in gone.get(missing, ())]


@pytest.mark.parametrize("record", [{}, {"architectures": []}, {"title": "x", "architectures": [{"name": "lstm"}]}])
def test_a_comparison_that_has_just_begun(tmp_path, record):
    page, text = (path.read_text(encoding="utf-8") for path in report.write(record, tmp_path / "new"))
    assert "No run has a score yet." in page and "No run has a score yet." in text
    assert page.count("not measured") > 40


def test_numbers_that_are_missing_are_dashes(tmp_path, without_plots):
    record = full()
    record["memory"]["scores"]["lstm"] = [1.0, None, 0.9, float("nan"), None]
    for entry in record["architectures"]:
        entry["cost"] = dict.fromkeys(entry["cost"]) | {"generation": [{"length": 16, "seconds_per_token": None}] * 2}
        entry["quality_by_length"][0]["score"] = None
        entry["best"] = entry["best"] | {"scores": [None]}
    page, text = (path.read_text(encoding="utf-8") for path in report.write(record, tmp_path)[:2])
    assert "| LSTM | 100.0% | - | 90.0% | - | - |" in text
    assert not re.search(r"\b(nan|None)\b", page.replace("shape=(None, 100)", "").replace("loss is nan", ""))


def test_bins_of_few_texts_are_in_the_table_alone(tmp_path, without_plots):
    """A bin of one length has its number for a name."""
    record = full()
    for entry in record["architectures"]:
        entry["quality_by_length"] = [{"from": 7, "to": 7, "rows": 29, "score": 0.5}]
    text = report.write(record, tmp_path)[1].read_text(encoding="utf-8")
    section = text[text.index("## Quality by length") : text.index("## Steps to remember")]
    assert "![" not in section and "| Architecture | 7 (29 texts) |" in section and "| GRU | 50.0% |" in section


def test_a_budget_of_seconds(tmp_path, without_plots):
    text = report.write(full() | {"budget": {"seconds": 90}}, tmp_path)[1].read_text(encoding="utf-8")
    assert "Each run trains for 90.0 s." in text and "Each run sees" not in text


def test_a_longer_input_without_some_of_its_numbers(tmp_path, without_plots):
    record = full()
    record["feedforward"]["longer"] = {"length": 200, "answers_lost": 360}
    text = report.write(record, tmp_path)[1].read_text(encoding="utf-8")
    (row, next_row, after) = text[text.index("| Length of the longer input") :].splitlines()[:3]
    assert (row, next_row) == ("| Length of the longer input | 200 positions |", "| Right answers lost | 360 |")
    assert after == ""


def test_losses_have_their_unit_and_direction(tmp_path, without_plots):
    record = full()
    record["score"] |= {"name": "loss", "unit": "nats", "mode": "min"}
    text = report.write(record, tmp_path)[1].read_text(encoding="utf-8")
    assert "validation loss, nats; the least is best" in text and "a score of at most 0.65" in text
    quality = text[text.index("## Quality") : text.index("## Quality by length")]
    assert re.findall(r"^\| (\S+) \| (.*?) \|", quality, re.M)[1] == ("RNN", "0.702 ± 0.0042 nats")


def test_a_record_is_not_changed(tmp_path, without_plots):
    record = full()
    before = copy.deepcopy(record)
    report.write(record, tmp_path)
    assert record == before


def test_runs_without_a_score_are_shown_with_their_reason(written):
    page = written[0]
    assert "diverged" in page and "&lt;b&gt;out of memory&lt;/b&gt; &amp; more" in page
    assert page.count("(best)") == 8


def test_a_table_has_cells_for_all_columns():
    with pytest.raises(ValueError, match="must have 2 cells"):
        document.Table("x", ("a", "b"), [("1",)])


def test_numbers_are_aligned_on_the_right():
    table = document.Table("x", ("a", "b", "c"), [("r", "1,234", "fast"), ("s", "77.1% ± 0.4%", "12.0 µs")])
    assert re.findall(r"<td.*?>", html.table(table))[:2] == [
        '<td role="cell" data-column="b" class="number">',
        '<td role="cell" data-column="c">',
    ]


def test_markdown_of_a_cell_with_a_verdict():
    table = document.Table("x", ("a", "b"), [("r", document.Cell("Fast", "12 µs", "agrees"))])
    assert markdown.table(table).splitlines()[-1] == "| r | Fast<br>**agrees**<br>12 µs |"
