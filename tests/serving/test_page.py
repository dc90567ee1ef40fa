"""The page in a headless Chromium: each task, by keyboard alone, narrow and wide, dark and light."""

import io
import math
import shutil
import struct
import wave

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("tasks need TensorFlow", allow_module_level=True)

from tests.serving.test_processes import Command
from tests.tasks.test_tasks import MAKERS

pytestmark = pytest.mark.long
# A microphone that beeps once a second, and may be used.
MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MODELS = ("translation", "generation", "classification", "tagging", "forecasting", "transcription")
SERIES = [f"2020-01-{day:02},{100 + 30 * math.sin(day):.2f},{20 + 3 * math.cos(day):.2f}\n" for day in range(1, 25)]
INPUTS = {
    "translation": "a man rides a horse",
    "generation": "a man",
    "classification": "a man rides\nthe dog",
    "tagging": "a man rides a horse",
    "forecasting": "time,load,OT\n" + "".join(SERIES),
}
# What the answer must have, and how many.
SHOWN = {
    "translation": {".words button": None, ".map tr": None},
    "generation": {".text": 1},
    "classification": {".bar": 6, ".text": 2},
    "tagging": {".tagged": 5},
    "forecasting": {"svg .past": 1, "svg .coming": 1, "svg .band": 1, "tbody tr, table > tr": 4},
    "transcription": {".text": 1},
}


def forecasting_with_a_band():
    from keras_seq import models, tasks
    from tests.tasks.test_tasks import SCALER, loud

    quantiles = (0.1, 0.5, 0.9)
    options = {"architecture": "gru", "units": 8, "num_layers": 1, "patch_length": 4, "targets": [1]}
    model = models.forecaster(2, 12, 3, quantiles=quantiles, **options)
    return tasks.Forecasting(loud(model), SCALER, SCALER.select(["OT"]), look_back=12, quantiles=quantiles)


@pytest.fixture(scope="module")
def server(made_once):
    def make(root):
        keras.utils.set_random_seed(3)
        for name in MODELS:
            (forecasting_with_a_band if name == "forecasting" else MAKERS[name])().save(root / name)

    root = made_once("served page", make)
    found = Command(root / MODELS[0], *(str(root / name) for name in MODELS[1:]))
    yield found
    found.end()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *MICROPHONE])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"".join(struct.pack("<h", int(8000 * math.sin(n / 3))) for n in range(4000)))
    return path


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_task_by_keyboard(server, browser, sound, width, scheme):
    address = f"http://127.0.0.1:{server.port}/"
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, complaints = context.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request", lambda asked: complaints.append(asked.url) if not asked.url.startswith((address, "data:")) else 0
    )
    page.goto(address)
    page.locator("#model option").first.wait_for(state="attached")
    for name in MODELS:
        ask(page, name, sound)
        for what, count in SHOWN[name].items():
            found = page.locator(f"#answer {what}").count()
            assert found == count or (count is None and found > 1), (name, what, found)
        if name == "translation":
            page.locator("#answer .words button").first.focus()
            page.keyboard.press("Tab")
            assert "mostly" in page.locator("#answer [role=status]").text_content()
        if name == "forecasting":
            points = page.locator("svg .past").get_attribute("points").split()
            assert len(points) == 24 and "NaN" not in " ".join(points)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), name
        assert complaints == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(22, 24, 27)") == (scheme == "dark")
    context.close()


def ask(page, name, sound):
    """Chooses a model and sends an input, without a mouse."""
    page.evaluate("document.activeElement.blur()")
    tab_to(page, "model")
    names = page.eval_on_selector_all("#model option", "options => options.map(option => option.value)")
    while (chosen := page.input_value("#model")) != name:
        page.keyboard.press("ArrowDown" if names.index(chosen) < names.index(name) else "ArrowUp")
    if name == "transcription":
        page.set_input_files("#sound", str(sound))  # the dialog is the system's
        tab_to(page, "send")
        page.keyboard.press("Enter")
    else:
        tab_to(page, "input")
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(INPUTS[name])
        page.keyboard.press("Control+Enter")
    page.locator("#status", has_text="Answered in").wait_for(timeout=60_000)


def tab_to(page, name):
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == name:
            return
    raise AssertionError(f"no way to #{name} by keyboard")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(server, browser, sound, width, scheme):
    """axe-core finds no violation in the form and the answer of any task."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra `test` is not installed").Axe()
    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "bypass_csp": True}
    context = browser.new_context(**options)
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.locator("#model option").first.wait_for(state="attached")
    for name in MODELS:
        ask(page, name, sound)
        found = axe.run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], name
    context.close()


def test_a_recording_is_sent_as_a_wav_file(server, browser):
    """By keyboard, from the microphone of the test: a WAV file of the task's sampling rate, and no silence."""
    context = browser.new_context()
    page, bodies, complaints = context.new_page(), [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda sent: bodies.append(sent.post_data_buffer) if sent.method == "POST" else None)
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.locator("#model option").first.wait_for(state="attached")
    page.select_option("#model", "transcription")
    tab_to(page, "record")
    page.keyboard.press("Enter")
    page.locator("#recorded", has_text="Recording.").wait_for()
    assert page.get_attribute("#record", "aria-pressed") == "true" and page.text_content("#record") == "Stop"
    page.wait_for_timeout(1500)
    page.keyboard.press("Enter")
    page.locator("#recorded", has_text="Send it now").wait_for()
    assert page.get_attribute("#record", "aria-pressed") == "false" and page.text_content("#record") == "Record"
    tab_to(page, "send")
    page.keyboard.press("Enter")
    page.locator("#status", has_text="Answered in").wait_for(timeout=60_000)
    assert page.locator("#answer .text").count() == 1 and complaints == []
    with wave.open(io.BytesIO(bodies[-1])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert 8000 < len(samples) < 40_000 and np.abs(samples.astype(int)).max() > 1000
    page.select_option("#model", "tagging")  # a recording is of its task alone
    page.select_option("#model", "transcription")
    page.click("#send")
    page.locator("#status.error", has_text="Choose a sound file, or record one").wait_for()
    context.close()


def test_an_error_is_shown_in_words(server, browser):
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.locator("#model option").first.wait_for(state="attached")
    page.select_option("#model", "forecasting")
    page.fill("#input", "time,load,OT\n2020-01-01,1,2\n")
    page.click("#send")
    page.wait_for_selector("#status.error")
    assert "The input has no result" in page.text_content("#status")
    page.select_option("#model", "translation")
    page.fill("#input", "<img src=x onerror=alert(1)>")
    page.click("#send")
    page.locator("#status", has_text="Answered in").wait_for(timeout=60_000)
    assert page.locator("#answer img").count() == 0
    page.close()
