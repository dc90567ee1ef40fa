"""The page of a report in a real Chromium: widths, colors, figures, the console, and paper.

Each test starts a browser, which takes a second or two on an idle core.
"""

import html
import json
import pathlib
import re
import shutil
import subprocess

import pytest

from tests.reference import quick

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")

FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
FLAGS += "--disable-component-update --disable-sync --hide-scrollbars --enable-logging=stderr --no-pdf-header-footer"
WIDTHS = (390, 1280)
# Shows the page in a frame of each width and measures it there. Its last line shows that the console is seen.
MEASURE = """
addEventListener("load", () => {
  const measured = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, root = page.documentElement;
    const look = frame.contentWindow.getComputedStyle(page.body);
    const box = (each) => { const r = each.getBoundingClientRect(); return [r.left, r.right, r.width, r.height]; };
    const shown = (each) => each.closest("details:not([open])") === null;
    const letters = (each) => parseFloat(frame.contentWindow.getComputedStyle(each).fontSize);
    const scale = (svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    measured[frame.width] = {
      width: root.clientWidth, content: root.scrollWidth, paper: look.backgroundColor, ink: look.color,
      figures: [...page.querySelectorAll("figure")].map(box),
      labels: [...page.querySelectorAll("figure")].map((each) => each.getAttribute("aria-label")),
      headings: [...page.querySelectorAll("h1, h2")].map((each) => [each.tagName, ...box(each)]),
      boxes: [...page.querySelectorAll(".scroll")].filter(shown).map(box),
      letters: [...page.querySelectorAll("p, li, th, td, .note, summary")].map(letters),
      drawn: [...page.querySelectorAll("svg text")].map((each) => letters(each) * scale(each.ownerSVGElement)),
      ink_drawn: frame.contentWindow.getComputedStyle(page.querySelector("svg text")).fill,
      outside: [...page.querySelectorAll("[src], link[href], script")].map((each) => each.outerHTML),
    };
  }
  document.body.innerHTML = "";
  document.body.append(Object.assign(document.createElement("pre"), {textContent: JSON.stringify(measured)}));
  console.log("measured");
});
"""


def chromium(folder: pathlib.Path, page: pathlib.Path, *flags: str) -> subprocess.CompletedProcess:
    """Opens a page with a fresh profile."""
    profile = folder / "profile"
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={profile}", *flags, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    shutil.rmtree(profile, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    return done


def console(done: subprocess.CompletedProcess) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def measured(folder: pathlib.Path, tmp_path: pathlib.Path, scheme: str) -> dict[int, dict]:
    page = html.escape((folder / "report.html").read_text(encoding="utf-8"))
    frames = "".join(f'<iframe width="{width}" height="900" srcdoc="{page}"></iframe>' for width in WIDTHS)
    wrapper = tmp_path / "wrapper.html"
    style = "<style>iframe { border: 0 }</style>"
    wrapper.write_text(f"<!DOCTYPE html><meta charset=utf-8>{style}{frames}<script>{MEASURE}</script>", "utf-8")
    setting = f"--blink-settings=preferredColorScheme={dict(dark=0, light=1)[scheme]}"
    done = chromium(tmp_path, wrapper, "--window-size=1400,1000", setting, "--dump-dom")
    assert [re.search(r'"(.*?)"', line)[1] for line in console(done)] == ["measured"]
    found = json.loads(html.unescape(re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)[1]))
    return {int(width): values for width, values in found.items()}


@pytest.mark.parametrize("scheme", quick(["light", "dark"], few=["dark"]))
def test_the_page_fits_a_phone_and_a_wide_screen(folder, tmp_path, scheme):
    charts = len(list((folder / "plots").glob("*.png")))
    for width, page in measured(folder, tmp_path, scheme).items():
        assert page["width"] == page["content"] == width  # no horizontal scroll
        assert len(page["figures"]) == charts == 10 and all(page["labels"])
        for left, right, wide, high in page["figures"] + page["boxes"] + [each[1:] for each in page["headings"]]:
            assert 0 <= left < right <= width and wide > 150 and high > 15
        assert all(high > 100 for *_, high in page["figures"])
        assert min(page["letters"]) >= 12 and min(page["drawn"]) >= 8.5  # pixels
        assert [tag for tag, *_ in page["headings"]].count("H1") == 1
        assert all('href="data:,"' in each for each in page["outside"])
        paper, ink, drawn = (brightness(page[key]) for key in ("paper", "ink", "ink_drawn"))
        assert (paper > 0.9 and ink < 0.2) if scheme == "light" else (paper < 0.2 and ink > 0.8)
        assert drawn == ink  # letters of figures too


def brightness(color: str) -> float:
    """The mean of red, green and blue, from 0 to 1."""
    return sum(map(float, re.findall(r"[\d.]+", color)[:3])) / (3 * 255)


def test_the_page_prints(folder, tmp_path):
    paper = tmp_path / "report.pdf"
    done = chromium(tmp_path, folder / "report.html", f"--print-to-pdf={paper}")
    assert console(done) == []
    content = paper.read_bytes()
    assert content.startswith(b"%PDF-") and len(re.findall(rb"/Type\s*/Page\b", content)) >= 2
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", "-layout", paper, "-"], capture_output=True, text=True, check=True).stdout
        assert "GRU has the best accuracy" in text and "Training Time" in text
        assert text.count("400,123") >= 40  # the folded table of runs is open on paper


def test_an_error_in_a_page_would_be_seen(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<!DOCTYPE html><img src="missing.png"><script>nothing.here</script>', "utf-8")
    assert any("nothing is not defined" in line for line in console(chromium(tmp_path, page, "--dump-dom")))
