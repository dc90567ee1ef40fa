"""Hooks of MkDocs: the pages of the site are files of the repository where they stand, the tutorials, and the API."""

import pathlib
import re
import sys

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from docs.site import links, messages, reference, tutorials  # noqa: E402

ROOT = reference.ROOT
PAGES = ("*.md", "docs/*.md", "docs/start/*.md", "docs/guides/*.md", "recipes/*.md", "saved_models/*.md")
PAGES += ("benchmarks/*.md", "benchmarks/peers/*.md")
LINK = re.compile(r"\]\((?P<target>[^)\s#:]+)(?:#[^)\s]*)?\)")


def page_paths() -> list[str]:
    """The Markdown files of the site, relative to the root of the repository."""
    return sorted(str(path.relative_to(ROOT)) for pattern in PAGES for path in ROOT.glob(pattern))


def linked_files(page: str) -> set[str]:
    """The other files that a page links to or shows: pictures, scripts, the license."""
    folder = (ROOT / page).parent
    targets = (match["target"] for match in LINK.finditer((ROOT / page).read_text(encoding="utf-8")))
    paths = [(folder / target).resolve() for target in targets]
    return {
        str(path.relative_to(ROOT))
        for path in paths
        if path.is_relative_to(ROOT) and path.is_file() and path.suffix != ".md"
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fills the navigation of the API."""
    (section,) = (entry for entry in config.nav if "API" in entry)
    section["API"] = ["api/index.md", *map(nav_entry, reference.parts()), {"Error messages": "api/messages.md"}]
    return config


def nav_entry(part: str) -> str | dict:
    pages = [path for path in reference.part_pages(part) if not path.endswith("/index.md")]
    name = part.removeprefix("keras_seq.")
    if not reference.is_divided(part):
        return {name: pages[0]}
    titles = [{reference.heading(pathlib.PurePath(page).stem): page} for page in pages]
    return {name: [f"api/{reference.address(part)}/index.md", *titles]}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    pages = page_paths()
    for path in [*pages, *sorted(set().union(*map(linked_files, pages)))]:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    written = {**reference.pages(), "api/messages.md": messages.page(), **tutorial_files(config.extra["repository"])}
    for path, content in written.items():
        files.append(File.generated(config, path, content=content))
    for image in sorted(tutorials.OUTPUTS.glob("*.png")):
        files.append(File.generated(config, str(image.relative_to(ROOT)), abs_src_path=str(image)))
    return files


def tutorial_files(repository: str) -> dict[str, str]:
    """A page and a notebook for each tutorial."""
    written = {}
    for name in tutorials.names():
        written[f"{tutorials.FOLDER}/{name}.md"] = tutorials.page(name, repository)
        written[f"{tutorials.FOLDER}/{name}.ipynb"] = tutorials.notebook_file(name, repository)
    return written


def on_page_markdown(markdown: str, page: Page, **kwargs) -> str:
    # The code of a message is in two backticks, where a link would be shown as it is written.
    return markdown if page.file.src_uri == "api/messages.md" else links.linked(markdown)


def on_post_page(output: str, **kwargs) -> str:
    """Names the dialog of the search for screen readers."""
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"', 1)
