"""Model cards: what a run folder knows stands in them, what nobody knows does not, and what a person wrote is kept."""

import re

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel needs TensorFlow", allow_module_level=True)

from keras_seq import decoding, export, models, tasks, text, training
from keras_seq.export import model_card

ENTRY = {
    "recipe": "sentiment",
    "task": "sentiment",
    "data": "films",
    "architecture": "gru",
    "seed": 7,
    "command": "train it",
}


@pytest.fixture
def run(tmp_path):
    """A finished run."""
    run = training.Run(tmp_path / "run", {"seed": 7, "units": 8}, data={"train": "0123456789abcdef0123"})
    training.write_history(run.history, [{"epoch": 1, "seconds": 3.0}, {"epoch": 2, "seconds": 65.0}])
    figures = [("valid", "accuracy", 0.75), ("test", "accuracy", 0.7182818), ("test", "macro-F1", 0.7)]
    run.add_metrics({**ENTRY, "split": split, "metric": metric, "value": value} for split, metric, value in figures)
    return run


def tensors():
    x = keras.Input((3,), name="x")
    return tasks.Tensors(keras.Model(x, keras.layers.Dense(2, name="y")(x)))


def mood():
    words = text.Words.train(["a fine film", "a dull film"])
    return tasks.Classification(
        models.classifier(words.size, 2, architecture="feedforward", units=4), words, ["-", "+"]
    )


def card_of(task, folder, **options):
    path = export.saved_model(task, folder, verify=False, **options)
    return (path / "README.md").read_text(encoding="utf-8")


def test_a_card_has_what_the_run_folder_knows(run, tmp_path):
    card = card_of(mood(), tmp_path / "mood", run=run.path)
    assert card.startswith("---\nlibrary_name: keras_seq\nlicense: unknown\npipeline_tag: text-classification\n")
    assert 'datasets: ["films"]' in card and "# mood\n" in card
    assert "| split | metric | value |\n| --- | --- | --- |\n| valid | accuracy | 0.75 |\n" in card
    assert "| test | accuracy | 0.7183 |" in card  # four digits
    assert "| seed | 7 |" in card and "| epochs | 2 |" in card and "| seconds | 65 |" in card
    assert "| command | `train it` |" in card and f", keras {keras.version()}, " in card
    assert "| architecture | gru |" in card and "| parameters | 62 |" in card  # 8 x 4, 4 x 4 + 4, 2 x 4 + 2
    assert "| train | `0123456789abcdef` |" in card and '"units": 8' in card
    assert "| `classify` | `text` string (?) | `label` string (?), `labels` string (?, 2), " in card
    assert 'print(model.signatures["classify"](text=tf.constant(["a text"])))' in card
    assert "serving_default" not in card
    assert "Every input gets one of the classes" in card and "The figures hold for the data" in card


def test_without_a_run_folder_a_card_says_so(tmp_path):
    card = card_of(tensors(), tmp_path / "a")
    assert "pipeline_tag" not in card and "datasets" not in card
    assert "The export does not know the training data." in card and "No figures are known." in card
    assert "There is no run folder" in card and f"keras {keras.version()}" in card
    assert "| `serve` | `inputs` float32 (?, 3) | `outputs` float32 (?, 2) |" in card and "| parameters | 8 |" in card


def test_the_run_folder_of_a_loaded_task_is_found(run, tmp_path):
    mood().save(run)
    assert "| test | macro-F1 | 0.7 |" in card_of(tasks.load(run.path), tmp_path / "a")


def test_license_and_notes_are_kept_and_the_rest_is_written_again(run, tmp_path):
    first = card_of(tensors(), tmp_path / "a")
    assert first.count(f"\n{model_card.NOTES}\n") == 1 and first.endswith("must not be used for.\n")
    edited = first.replace("license: unknown", "license: cc-by-4.0").replace("# a\n", "# Mine\n")
    edited = edited.partition(f"{model_card.NOTES}\n")[0] + f"{model_card.NOTES}\n\nFor clinics only.\n\n## More\n\nx\n"
    (tmp_path / "a" / "README.md").write_text(edited, encoding="utf-8")
    again = card_of(tensors(), tmp_path / "a", run=run.path)
    assert "license: cc-by-4.0\n" in again and again.endswith("## Notes\n\nFor clinics only.\n\n## More\n\nx\n")
    assert "# a\n" in again and "| seed | 7 |" in again


def test_a_readme_that_is_no_card_is_not_lost(tmp_path):
    path = export.saved_model(tensors(), tmp_path / "a", verify=False)
    (path / "README.md").write_text("# Mine\n")
    with pytest.raises(ValueError, match="holds a SavedModel and also README.md, which would be lost"):
        export.saved_model(tensors(), path, verify=False)
    assert (path / "README.md").read_text() == "# Mine\n"


def test_a_damaged_run_folder_is_named_before_anything_is_written(run, tmp_path):
    run.metrics.write_text("[")
    with pytest.raises(ValueError, match="metrics.json is damaged"):
        export.saved_model(tensors(), tmp_path / "a", verify=False, run=run.path)
    assert not (tmp_path / "a").exists()


def test_a_task_of_ones_own_has_a_card(tmp_path):
    class Mine(tasks.Tensors):
        name = "mine"

    card = card_of(Mine(tensors().model), tmp_path / "a")
    assert "Maps tensors to tensors" in card and "It checks neither the range" in card


def test_models_together_have_a_card(tmp_path):
    words = text.Words.train(["a fine film"])
    options = {"units": 4, "num_layers": 1, "cell": "rnn", "attention": None, "bidirectional": False}
    both = decoding.Ensemble([models.Seq2Seq(words.size, **options) for _ in range(2)])
    card = card_of(tasks.Translation(both, words, search="greedy", max_length=3), tmp_path / "a")
    count = sum(np.prod(weight.shape) for model in both.models for weight in model.weights)
    assert "| class | Ensemble |" in card and f"| parameters | {count:,} |" in card


def test_a_card_in_a_folder_of_ctranslate2(run, tmp_path):
    pytest.importorskip("ctranslate2", reason="the extra `ctranslate2`")
    words = text.Words.train(["a fine film"])
    model = models.Transformer(words.size, units=8, num_heads=2, num_layers=1)
    path = export.ctranslate2(model, tmp_path / "a", words, quantization="int8", verify=False, run=run.path)
    card = (path / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: translation" in card and "A CTranslate2 model, int8, exported" in card
    assert "translate_batch([[" in card and "| test | accuracy | 0.7183 |" in card
    export.ctranslate2(model, path, words, verify=False)  # replaces it
    assert "A CTranslate2 model, float32" in (path / "README.md").read_text(encoding="utf-8")


def test_the_program_of_a_card_translates(tmp_path, monkeypatch, capsys):
    for package in ("ctranslate2", "sentencepiece"):
        pytest.importorskip(package, reason="the extra `ctranslate2`")
    lines = ["a fine film", "a dull film", "the story is warm and fine"] * 4
    subwords = text.Subwords.train(lines, vocabulary_size=40)
    model = models.Transformer(subwords.size, units=8, num_heads=2, num_layers=1)
    path = export.ctranslate2(model, tmp_path / "a", subwords, verify=False)
    card = (path / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(path)
    exec(re.search(r"```python\n(.*?)```", card, re.DOTALL)[1], {})
    assert capsys.readouterr().out.startswith("[")


def test_a_cell_of_a_table_has_no_bar():
    assert model_card.table(("a", "b"), [("x|y", np.float64(0.5))]).split("\n")[2] == "| x\\|y | 0.5 |"


def test_a_package_that_is_not_installed_has_an_unknown_version():
    assert model_card.version("keras") == keras.__version__
    assert model_card.version("keras-sequel") == model_card.UNKNOWN
