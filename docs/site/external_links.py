"""The links from the site to other sites, each by the list in external_links.txt.

    python -m docs.site.external_links build/site

asks each external link of the built site whether it exists. It needs internet, so no test runs it.
"""

import html.parser
import pathlib
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable

ALLOWED = pathlib.Path(__file__).with_suffix(".txt")
LOCAL = ("http://127.0.0.1", "http://localhost")
SECONDS = 20
AGENT = {"User-Agent": "Mozilla/5.0 (links of a documentation)"}  # some sites answer only browsers


def allowed() -> tuple[str, ...]:
    """The beginnings of links in the list."""
    lines = ALLOWED.read_text(encoding="utf-8").split("\n")
    return tuple(line for line in lines if line and not line.startswith("#"))


def unlisted(links: Iterable[str]) -> list[str]:
    """The external links that are not on the list. Those to this machine are examples."""
    external = {link for link in links if link.startswith(("http://", "https://", "//"))}
    return sorted(link for link in external if not link.startswith((*allowed(), *LOCAL)))


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get("href")
        if tag == "a" and address:
            self.found.add(address)


def of_page(content: str) -> set[str]:
    """The addresses that the HTML of a page links to."""
    parser = _Links()
    parser.feed(content)
    return parser.found


def of_site(folder: pathlib.Path) -> set[str]:
    """The external addresses that a built site links to."""
    pages = (of_page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html"))
    return {link for link in set().union(*pages) if link.startswith(("http://", "https://"))}


def problem(link: str) -> str | None:
    """What is wrong with a link, asked over the network. None if it exists."""
    try:
        with urllib.request.urlopen(urllib.request.Request(link, headers=AGENT), timeout=SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return None if error.code in (403, 429) else f"status {error.code}"  # those exist, but refuse programs
    except (OSError, ValueError) as error:
        return str(error)


def main(folder: str = "build/site") -> int:
    links = sorted(of_site(pathlib.Path(folder)))
    if not links:
        print(f"{folder} has no page with external links. Run make docs first.")
        return 1
    dead = {link: reason for link in links if (reason := problem(link))}
    for link, reason in dead.items():
        print(f"{link}: {reason}")
    print(f"{len(links)} external links, {len(dead)} of them dead.")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
