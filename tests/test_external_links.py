"""External links of the documentation are on the list of docs/site/external_links.txt. No network is asked."""

import http.server
import re
import threading

import pytest

from docs.site import external_links, reference, tutorials

ROOT = reference.ROOT
PATTERNS = ("*.md", "docs/**/*.md", "docs/tutorials/*.py", "recipes/*.md", "saved_models/*.md", "benchmarks/**/*.md")
FILES = sorted(str(path.relative_to(ROOT)) for pattern in PATTERNS for path in ROOT.glob(pattern))
ADDRESS = re.compile(r"https?://[^\s)>\"'`\]]+")


@pytest.mark.parametrize("file", FILES)
def test_external_links_of_a_page_are_on_the_list(file):
    assert not external_links.unlisted(ADDRESS.findall((ROOT / file).read_text(encoding="utf-8")))


def test_external_links_of_docstrings_are_on_the_list():
    docstrings = [
        reference.ast.get_docstring(node) or ""
        for part in reference.parts()
        for home in set(reference.homes(part).values())
        for node in [reference.tree(home), *reference.tree(home).body]
        if isinstance(node, reference.ast.Module | reference.ast.ClassDef | reference.ast.FunctionDef)
    ]
    found = [link for text in docstrings for link in ADDRESS.findall(text)]
    assert not external_links.unlisted(found)
    assert not external_links.unlisted([tutorials.colab("sentiment", "somebody/something")])


def test_another_link_is_found():
    links = [
        "https://arxiv.org/abs/1409.0473",
        "https://example.org/x",
        "//example.org",
        "http://127.0.0.1:8501",
        "a/b",
    ]
    assert external_links.unlisted(links) == ["//example.org", "https://example.org/x"]
    assert external_links.of_page('<a href="https://a.org/?x=1&amp;y=2">x</a><a>y</a><link href="z">') == {
        "https://a.org/?x=1&y=2"
    }


def test_a_dead_link_is_told_from_one_that_exists_and_one_that_refuses_programs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(int(self.path[1:]))
            self.end_headers()

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at = f"http://127.0.0.1:{server.server_port}"
    try:
        (tmp_path / "a.html").write_text("".join(f'<a href="{at}/{status}">x</a>' for status in (200, 403, 404)))
        assert external_links.main(str(tmp_path)) == 1
    finally:
        server.shutdown()
        server.server_close()
    assert capsys.readouterr().out == f"{at}/404: status 404\n3 external links, 1 of them dead.\n"
    (tmp_path / "empty").mkdir()
    assert external_links.main(str(tmp_path / "empty")) == 1
