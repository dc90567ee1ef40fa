"""The Python in README.md and docs/: every block compiles, and runs unless a reason is listed here.

Where a block of plain output stands below, the printed output must equal it. Output that varies is marked `text`.

The blocks of a page run one after the other in one namespace and in a folder with small files, run folders of untrained
models and their exports.
"""

import functools
import importlib
import os
import pathlib
import re
from collections.abc import Callable

import keras
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the pages use TensorFlow", allow_module_level=True)

import keras_seq
from keras_seq import export, layers, models, tasks, text

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("docs", "docs/start", "docs/guides")
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [ROOT / "README.md", *(page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md")))]
}
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
QUICK = ("docs/data.md", "docs/guides/masks.md")  # the other pages train, decode or load exports
# (page, number of the block) -> why it is only compiled.
COMPILED = {
    ("docs/export.md", 6): "needs a CTranslate2 folder with SentencePiece's vocabulary",
    ("docs/serving.md", 1): "needs tensorflow_serving",
    ("docs/serving.md", 2): "shows a loop around a call of the next block",
    ("docs/serving.md", 3): "needs tensorflow_serving and a server",
    ("docs/serving.md", 4): "needs a CTranslate2 folder with SentencePiece's vocabulary",
}
# What is too large for a test, and the same in small.
SMALLER = {
    "cases=200": "cases=4",
    "epochs=10": "epochs=1",
    "epochs=20": "epochs=1",
    "units=256": "units=8",
    "vocabulary_size=8000": "vocabulary_size=60",
    "Seq2Seq(8000": "Seq2Seq(60",
}

ENGLISH = ["a man rides a horse", "two dogs run", "the dog runs far away", "a horse", "two men ride to the town"]
ENGLISH += ["damn the rain and the wind that spoil this summer day for everybody here"]  # some 30 words
GERMAN = [
    "ein Mann reitet",
    "zwei Hunde laufen",
    "der Hund läuft weit weg",
    "ein Pferd",
    "zwei Männer reiten",
    "der Regen",
]
TABLES = {
    "films.tsv": ["good\ta fine film", "bad\ta dull film"] * 8,
    "lexicon.tsv": ["cat\tK AE T", "dog\tD AO G"],
    "reviews.csv": ["review,mood", *["a fine film,good", "a dull film,bad"] * 8],
}


def blocks(page: str) -> list[tuple[str, str | None, int]]:
    """The code of each block, the output that is printed below it, and its first line."""
    content = PAGES[page].read_text(encoding="utf-8")
    return [
        (code, output, content[: m.start()].count("\n") + 2)
        for m in BLOCK.finditer(content)
        for code, output in [m.groups()]
    ]


def translator(**options):
    words = text.Words.train([*ENGLISH, *GERMAN])
    model = models.Seq2Seq(words.size, units=8, num_layers=1, cell="gru", attention="dot", **options)
    return tasks.Translation(model, words, num_beams=5, max_length=8)


def transformer():
    words = text.Words.train([*ENGLISH, *GERMAN])
    model = models.Transformer(words.size, units=8, num_layers=1, num_heads=2, intermediate_dim=8)
    return tasks.Translation(model, words, num_beams=5, max_length=8)


def prose():
    words = text.Words.train(ENGLISH)
    model = models.LanguageModel(words.size, layers.RecurrentStack("gru", 8, num_layers=1))
    return tasks.Generation(model, words, search="sampling", max_length=8)


def moods():
    words = text.Words.train(ENGLISH)
    return tasks.Classification(models.classifier(words.size, 2, architecture="gru", units=8), words, ["bad", "good"])


def attending_moods():
    words = text.Words.train(ENGLISH)
    model = models.classifier(words.size, 2, architecture="transformer", units=8)
    return tasks.Classification(model, words, ["bad", "good"])


def tagger():
    words, letters = text.Words.train(ENGLISH), text.Characters.train(ENGLISH)
    spelling = {"characters": "cnn", "character_vocabulary_size": letters.size, "character_units": 8}
    model = models.tagger(words.size, 2, architecture="gru", units=8, **spelling)
    return tasks.Tagging(model, words, ["NOUN", "VERB"], characters=letters)


def digits():
    front_end = models.audio_front_end(8, num_mel_bins=8, frequency_mask_width=2, conv_layers=1)
    words = text.Words(["zero", "one", "two"])
    model = models.recognizer(words.size, front_end=front_end, architecture="gru", units=8, num_layers=1)
    return tasks.Transcription(model, words, search="greedy")


def clips():
    return tasks.Classification(models.video_classifier((16, 16, 1), 2, units=8, filters=(4,)), None, ["up", "down"])


def notes():
    return tasks.Tensors(models.probabilities(models.binary_frame_predictor(88, units=8)))


def levels():
    scaler = keras_seq.data.Scaler([0.0] * 3, [1.0] * 3, ["a", "b", "c"])
    model = models.forecaster(3, 96, 24, architecture="feedforward", units=8)
    return tasks.Forecasting(model, scaler, scaler, look_back=96)


# Which run folders and SavedModels a page opens.
RUNS = {
    "README.md": {"translation": translator},
    "docs/decoding.md": {"en-de": translator, "another": translator, "words": translator},
    "docs/export.md": {
        **{"en-de": translator, "prose": prose, "mood": moods, "tagging": tagger, "digits": digits},
        "transformer": transformer,
    },
    "docs/padding.md": {"sentiment": moods},
    "docs/representations.md": {"sentiment": attending_moods},
    "docs/start/your_data.md": {"sentiment": moods, "dates": translator},
    "docs/tasks.md": {"translation": translator, "one": translator, "two": translator},
}
SAVED_MODELS = {
    "docs/forecasting.md": {"forecasting": levels},
    "docs/language_model.md": {"language_model": prose},
    "docs/memory.md": {"memory": tagger},
    "docs/music.md": {"music": notes},
    "docs/sentiment.md": {"sentiment": moods},
    "docs/serving.md": {"translation": translator},
    "docs/speech.md": {"speech": digits},
    "docs/tagging.md": {"tagging": tagger},
    "docs/video.md": {"video": clips},
}


@pytest.fixture
def furnished(tmp_path, monkeypatch, made_once):
    """Fills the working folder with all that a page opens."""
    monkeypatch.chdir(tmp_path)
    # tests/export has the fresh process.
    monkeypatch.setattr(importlib.import_module("keras_seq.export.saved_model"), "verify_elsewhere", lambda *args: None)

    def fill(page: str) -> None:
        for part in ("train", "valid"):
            for language, lines in (("en", ENGLISH), ("de", GERMAN)):
                pathlib.Path(f"{part}.{language}").write_text("\n".join(lines * 2) + "\n", encoding="utf-8")
        for name, rows in TABLES.items():
            pathlib.Path(name).write_text("\n".join(rows) + "\n", encoding="utf-8")
        for kind, write, wanted in (("runs", save, RUNS), ("saved_models", save_export, SAVED_MODELS)):
            os.makedirs(kind)
            for name, maker in wanted.get(page, {}).items():
                made = made_once(f"docs {kind} {maker.__name__}", functools.partial(write, maker))
                os.symlink(made / "it", pathlib.Path(kind, name))

    return fill


def save(maker: Callable, folder: pathlib.Path) -> None:
    maker().save(folder / "it")


def save_export(maker: Callable, folder: pathlib.Path) -> None:
    export.saved_model(maker(), folder / "it", verify=False)


def in_small(code: str) -> str:
    """The code with the same number of lines and small numbers."""
    return functools.reduce(lambda code, number: code.replace(number, SMALLER[number]), SMALLER, code)


def runs(page: str) -> bool:
    return any((page, number) not in COMPILED for number, _ in enumerate(blocks(page)))


def test_every_reason_is_that_of_a_block():
    assert all(number < len(blocks(page)) for page, number in COMPILED)
    assert sum(len(blocks(page)) for page in PAGES) > 25


@pytest.mark.parametrize("page", PAGES)
def test_every_block_compiles(page):
    for code, _, line in blocks(page):
        compile("\n" * (line - 1) + code, page, "exec")


@pytest.mark.parametrize(
    "page", [page if page in QUICK else pytest.param(page, marks=pytest.mark.long) for page in PAGES if runs(page)]
)
def test_the_blocks_of_a_page_run(page, furnished, capsys):
    furnished(page)
    namespace = {"__name__": page}
    for number, (code, output, line) in enumerate(blocks(page)):
        if (page, number) in COMPILED:
            continue
        capsys.readouterr()
        exec(compile("\n" * (line - 1) + in_small(code), page, "exec"), namespace)
        if output is not None and "runs/" not in code:  # an untrained model prints something else
            assert capsys.readouterr().out == output
