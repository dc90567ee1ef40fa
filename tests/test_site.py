"""The site of `make docs`: every public name has an entry, links lead somewhere, docstrings become lists."""

import contextlib
import html.parser
import importlib
import inspect
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse

import pytest

import keras_seq
from docs.site import external_links, links, messages, reference, tutorials

ROOT = reference.ROOT
# Files and folders of keras_seq/ that are no public part.
INTERNAL = {"__init__", "__main__", "architectures", "class_weight", "cli_config", "commands", "crossentropy"}
INTERNAL |= {
    "deferred_logits",
    "labels",
    "lazy",
    "quiet",
    "serialization",
    "serving",
    "series_options",
    "word_features",
}
PATTERNS = ("*.md", "docs/**/*.md", "recipes/*.md", "saved_models/*.md", "benchmarks/**/*.md")
PAGES = sorted(str(path.relative_to(ROOT)) for pattern in PATTERNS for path in ROOT.glob(pattern))
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WITHOUT_PLOTS = ("exporting", "workers")
BLOCK = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?P<target>[^)\s#]*)(?:#(?P<anchor>[^)\s]*))?\)")


def prose(page: str) -> str:
    """The text of a page without its blocks of code and its inline code."""
    text = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return re.sub(r"`[^`\n]+`", "code", "\n".join("" if line.startswith("    ") else line for line in text.split("\n")))


def anchors(page: str) -> set[str]:
    text = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("part", reference.parts())
def test_the_names_of_a_part_are_those_that_python_has(part):
    module = importlib.import_module(part)
    expected = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and value.__module__ == part
    ]
    homes = reference.homes(part)
    assert set(homes) == set(expected)
    for name, home in homes.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)


def test_every_part_of_the_package_is_public_or_named_here_as_internal():
    found = {path.stem for path in reference.source("keras_seq").parent.iterdir() if path.suffix == ".py"}
    found |= {path.parent.name for path in reference.source("keras_seq").parent.glob("*/__init__.py")}
    public = {part.split(".")[1] for part in reference.parts()}
    assert found == public | INTERNAL
    inspection = {part.split(".")[2] for part in reference.parts() if part.startswith("keras_seq.inspection.")}
    assert inspection == set(importlib.import_module("keras_seq.inspection").__all__)


def test_every_name_has_one_entry_and_a_line_in_a_table():
    pages = reference.pages()
    text = "\n".join(pages.values())
    for part in reference.parts():
        for name in reference.homes(part):
            assert text.count(f"\n::: {part}.{name}\n") == 1
            assert f"[`{name}`][{part}.{name}]" in text
    assert "A dataset step that groups examples" in pages["api/data/index.md"]
    assert reference.is_divided("keras_seq.layers") and not reference.is_divided("keras_seq.losses")


def test_names_in_the_text_are_links():
    page = "`data.bucketed(4096)`, `plots.buckets`, `bucketed`, [`data.shuffled`](x)"
    page += "\n```\n`data.cached`\n```\n# `data.cached`"
    assert links.linked(page) == page.replace(
        "`data.bucketed(4096)`", "[`data.bucketed(4096)`][keras_seq.data.bucketed]"
    ).replace("`plots.buckets`", "[`plots.buckets`][keras_seq.inspection.plots.buckets]")
    docstring = "As `plan_batches` and `Buckets`, `pad_id`, arXiv:1409.0473."
    assert links.linked_in_docstring(docstring, "keras_seq.data.Buckets") == (
        "As [`plan_batches`][keras_seq.data.plan_batches] and `Buckets`, `pad_id`, "
        "[arXiv:1409.0473](https://arxiv.org/abs/1409.0473)."
    )
    for text in ("- `plan_batches`: an argument", "    `plan_batches`"):
        assert links.linked_in_docstring(text, "keras_seq.data.f") == text
    assert "][" not in links.linked_in_docstring("`plan_batches`", "keras_seq.data.f", ["plan_batches"])


def test_sections_of_a_docstring_become_lists():
    pytest.importorskip("griffe", reason="the extra `docs`")
    from docs.site.docstrings import as_markdown

    docstring = """Attends.

        score(q, k) = q . k

    Args:
        units: width of the
            layer.
        first, second: two
    Call arguments:
        x: int `(B, T)`.   y: float `(B, T)`.
    Returns:
        float `(B, T)`.
    Raises:
        tf.errors.InvalidArgumentError: if it fails.
    Source: Somebody 2015,
        section 3.
    """
    assert as_markdown(docstring) == (
        "Attends.\n\n    score(q, k) = q . k\n\n"
        "**Args:**\n\n- `units`: width of the layer.\n- `first`, `second`: two\n\n"
        "**Call arguments:**\n\n- `x`: int `(B, T)`.\n- `y`: float `(B, T)`.\n\n"
        "**Returns:**\n\nfloat `(B, T)`.\n\n"
        "**Raises:**\n\n- `tf.errors.InvalidArgumentError`: if it fails.\n\n"
        "**Source:** Somebody 2015, section 3."
    )
    assert as_markdown("One.\n\nArgs: those of `f`, and\n    a: b\n\nMore.") == (
        "One.\n\n**Args:** those of `f`, and\n\n- `a`: b\n\nMore."
    )
    assert as_markdown("One.\n\nExample:\n    >>> 1\n    1\n") == "One.\n\n**Example:**\n\n```pycon\n>>> 1\n1\n```"


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_to_files_and_headings(page):
    for match in LINK.finditer(prose(page)):
        target, anchor = match["target"], match["anchor"]
        if ":" in target:
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.is_file(), f"{page} links to {target}"
        if anchor:
            other = os.path.relpath(path.resolve(), ROOT)
            assert anchor in anchors(other), f"{page} links to {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_the_names_of_a_page_exist(page):
    modules = {part.rpartition(".")[2]: part for part in reference.parts()} | {"inspection": "keras_seq.inspection"}
    names = "|".join(modules)
    text = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    for name in re.findall(
        rf"(?<!`)`(?:keras_seq\.)?((?:{names})\.[A-Za-z]\w*(?:\.[A-Za-z]\w*)*)(?:\([^`]*\))?`", text
    ):
        first, *others = name.split(".")
        is_file = others[-1] in ("config", "csv", "json", "py", "txt")
        assert is_file or exists(modules[first], others), f"{page}: {name}"


def exists(module: str, names: list[str]) -> bool:
    """Whether the attributes, or modules and then attributes, of a module exist."""
    found = importlib.import_module(module)
    for name in names:
        if name in getattr(found, "_INSTEAD", ()):  # shown for its error
            return True
        if not hasattr(found, name) and inspect.ismodule(found):
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{found.__name__}.{name}")
        if not hasattr(found, name):
            return name in getattr(found, "__annotations__", ())  # a field of a dataclass
        found = getattr(found, name)
    return True


def test_the_names_of_other_libraries_have_a_line_in_the_guide():
    page = (ROOT / "docs/guides/coming_from.md").read_text(encoding="utf-8")
    parts = [importlib.import_module(part) for part in reference.parts()]
    names = {name for part in [keras_seq, *parts] for name in getattr(part, "_INSTEAD", ())}
    assert len(names) > 50
    assert not [name for name in sorted(names) if not re.search(rf"`{name}\b", page)]


def test_messages_are_found_where_they_are_raised(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        "import warnings\n"
        "def f(x):\n"
        "    warnings.warn('take care of x', stacklevel=2)\n"
        "    raise ValueError(f'`x` must be {1} or 2. '\n 'Received: ' f'{x}') from None\n"
        "raise SystemExit(2)\n"
    )
    expected = {("warning", "take care of x"), ("ValueError", "`x` must be … or 2. Received: …")}
    assert set(messages.messages(file)) == expected
    assert "`` `Throughput` counted no tokens in this epoch." in messages.page()


@pytest.mark.parametrize("page", PAGES)
def test_a_list_has_an_empty_line_before_it(page):
    """Without it, code hosts show a list, and the site a paragraph."""
    lines = BLOCK.sub("```", (ROOT / page).read_text(encoding="utf-8")).split("\n")
    item = re.compile(r"(- |\d+\. )")
    for before, line in zip(lines, lines[1:], strict=False):
        assert not item.match(line) or not before or before.startswith((" ", "#")) or item.match(before), line
        assert not line.startswith("|") or not before or before.startswith("|"), line
        assert not re.match(r" {1,3}([-*]|\d+\.) ", line), f"four spaces are needed: {line}"


class Page(html.parser.HTMLParser):
    """The identifiers, the links and the loaded files of a page of the site."""

    def __init__(self, path: pathlib.Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if values.get("id"):
            self.ids.add(values["id"])
        if tag == "a" and values.get("href"):
            self.links.add(values["href"])
        if tag in ("script", "img", "iframe") and values.get("src"):
            self.loaded.add(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon"):
            self.loaded.add(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> pathlib.Path:
    """The folder of the site, built as `make docs` does."""
    pytest.importorskip("mkdocs", reason="the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", "docs/site/mkdocs.yml", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[pathlib.Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


@pytest.mark.long
def test_every_public_name_has_an_entry_in_the_site(pages):
    ids = set().union(*(page.ids for page in pages.values()))
    names = {f"{part}.{name}" for part in reference.parts() for name in reference.homes(part)}
    assert not names - ids


@pytest.mark.long
def test_links_of_the_site_lead_to_files_and_headings_and_nothing_is_loaded_from_elsewhere(pages):
    for path, page in pages.items():
        assert not [source for source in page.loaded if "//" in source], path
        for link in page.links:
            address = urllib.parse.urlparse(link)
            if address.scheme or address.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(address.path)).resolve() if address.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{path}: {link}"
            anchor = urllib.parse.unquote(address.fragment)
            assert not anchor or anchor == "__top" or anchor in pages[target].ids, f"{path}: {link}"
    assert not external_links.unlisted(set().union(*(page.links for page in pages.values())))


@pytest.mark.long
def test_every_tutorial_is_a_page_and_a_notebook(site, pages):
    folder = site / tutorials.FOLDER
    assert {path.stem for path in folder.glob("*.ipynb")} == set(tutorials.names())
    for name in tutorials.names():
        page = pages[folder / name / "index.html"]
        assert f"../{name}.ipynb" in page.links
        assert any(link.startswith("https://colab.research.google.com/") for link in page.links)
        assert any(f"outputs/{name}-1.png" in source for source in page.loaded) or name in WITHOUT_PLOTS


@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_blocks_that_are_wider_than_the_page_are_reached_with_the_keyboard(site, tmp_path):
    page = (site / tutorials.FOLDER / "forecasting" / "index.html").as_uri()
    reached = {}
    for width in (500, 3000):
        flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
        command = [CHROMIUM, *flags, f"--window-size={width},900", page]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        reached[width] = re.findall(r"<code[^>]* tabindex=.0.", done.stdout)
    assert len(reached[500]) > len(reached[3000])
