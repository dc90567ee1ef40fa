"""The findings of Sutskever et al. 2014: each on made outputs, and all of them on models that were trained briefly."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_seq import comparison, data, text, training
from recipes import findings, sutskever2014
from tests.recipes.pages import runner

if keras.backend.backend() != "tensorflow":
    pytest.skip("recipes need TensorFlow", allow_module_level=True)

from recipes.findings import by_sentence, check, depth, ensembles, minibatches, rescoring, sentence_vectors, systems
from recipes.findings.finding import AGREES, DIFFERS, PARTLY, Finding
from recipes.findings.members import VARIANTS, Member, members

Options = sutskever2014.Options
SMALL = Options(numbers=60, epochs=1, units=8, num_layers=1, batch_size=8, num_beams=2, seeds=1)
SENTENCES = ["a b c d e f", "b c d e f a", "c d e f a b", "d e f a b c"]


@pytest.fixture
def made(tmp_path):
    """Systems whose members have ended with a score, and whose outputs are files."""
    report = data.ParallelReport(4, 4)
    test = data.ParallelText(["x", "x y", "x y z", "x y z w"], SENTENCES, report)
    options = sutskever2014.with_defaults(dataclasses.replace(SMALL, run=tmp_path, seeds=3))
    made = systems.Systems(options, {"train": test, "test": test})

    def write(name, value):
        made.kept(name, lambda: value)

    for variant in VARIANTS:
        for member in members(variant, 5):
            comparison.CellRecord("done", score=2.0, parameters=10, seconds=1.0).write(tmp_path / member.folder)
    return made, write


def outputs(texts):
    return [([text], [-1.0]) for text in texts]


def wrong(count):
    """The references, of which some are changed."""
    return [f"{text} z" if number < count else text for number, text in enumerate(SENTENCES)]


def test_all_findings_have_a_check():
    assert set(findings.NAMES) == set(check.FINDINGS)
    options = sutskever2014.with_defaults(SMALL)
    for name in findings.NAMES:
        assert set(check.FINDINGS[name].needed(options)) <= {Member(v, s) for v in VARIANTS for s in range(1, 6)}


def test_members_do_not_depend_on_the_questions():
    options = sutskever2014.with_defaults(SMALL)
    other = dataclasses.replace(options, seeds=9, workers=4, findings=("depth",), num_beams=7)
    assert check._of_members(options) == check._of_members(other)


def test_the_depth_of_the_other_findings_is_not_trained_again():
    options = sutskever2014.with_defaults(dataclasses.replace(SMALL, num_layers=2))
    assert [member.variant for member in depth.needed(options)] == ["1 layer", "reversed", "3 layers", "4 layers"]


def test_an_output_is_computed_once_and_kept(made):
    made, _ = made
    assert made.kept("a", lambda: [1, "é", None]) == [1, "é", None]
    assert made.kept("a", lambda: 1 / 0) == [1, "é", None]
    (path,) = (made.folder / "outputs").iterdir()
    assert path.match("test-*-a.json") and json.loads(path.read_text(encoding="utf-8")) == [1, "é", None]


def test_outputs_of_another_text_are_not_taken(made):
    made, write = made
    write("a", 1)
    other = dataclasses.replace(made.test, sources=["w"] * 4)
    assert systems.Systems(made.options, {"test": other}).kept("a", lambda: 2) == 2


def test_a_model_without_a_score_is_named(made):
    made, _ = made
    for variant in ("unclipped", "forward"):
        comparison.CellRecord("diverged", reason="loss is nan").write(made.folder / Member(variant, 2).folder)
    check._check_ended(made, members("unclipped", 3))  # which is a finding
    with pytest.raises(ValueError, match="forward, seed 2: diverged: loss is nan. Remove .*forward/2"):
        check._check_ended(made, members("forward", 3))


def test_a_run_that_is_overwritten_trains_its_models_again(made, monkeypatch):
    made, write = made
    write("a", 1)
    (made.folder / "config.json").write_text("{}")
    seen = []
    monkeypatch.setattr(check, "_train", lambda options, parts, run, needed: seen.append(made.trained(needed)))
    options = dataclasses.replace(made.options, findings=("reversal",), overwrite=True)
    with pytest.raises(ValueError, match="reversed, seed 1: waiting"):
        check.check_findings(options, made.parts, training.Run(made.folder))
    assert seen == [[]] and not (made.folder / "outputs").exists()


def test_reversal_needs_both_scores_and_significance(made, monkeypatch):
    made, write = made
    for seed in (1, 2, 3):
        for variant, perplexity, errors in (("forward", 6.0 + seed, 4), ("reversed", 5.0, 0)):
            write(f"perplexity-{variant}-{seed}", perplexity)
            write(f"{variant}-{seed}-beam-2-best-1", outputs(wrong(errors)))
    p_values = iter([0.01, 0.02, 0.03])
    monkeypatch.setattr(check.reversal, "significance", lambda *texts: next(p_values))
    found = check.reversal.check(made)
    assert found.verdict == AGREES and "0.010, 0.020, 0.030" in found.ours
    assert found.rows[0][1] == "8.00 ± 1.00" and found.rows[1][1:] == ("5.00 ± 0.00", "100.00 ± 0.00")
    assert (made.folder / "plots" / "reversal.png").exists()
    monkeypatch.setattr(check.reversal, "significance", lambda *texts: 0.2)
    assert check.reversal.check(made).verdict == PARTLY


def test_depth_tells_the_change_of_each_layer(made):
    made, write = made
    for variant, perplexity in (("reversed", 8.0), ("2 layers", 6.0), ("3 layers", 3.0), ("4 layers", 3.3)):
        for seed in (1, 2, 3):
            name = f"{variant.replace(' ', '_')}-{seed}"
            write(f"perplexity-{name}", perplexity)
            write(f"{name}-beam-2-best-1", outputs(SENTENCES))
    found = depth.check(made)
    assert [row[2] for row in found.rows] == ["", "-25.0%", "-50.0%", "+10.0%"]
    assert found.verdict == PARTLY and "best of 4 depths is 3" in found.ours


def test_ensembles_must_gain_a_point_and_a_half(made):
    made, write = made
    names = {size: "+".join(f"reversed-{seed}" for seed in range(1, size + 1)) for size in (2, 5)}
    for beam, errors in ((1, 3), (2, 3), (12, 2)):
        for seed in range(1, 6):
            write(f"reversed-{seed}-beam-{beam}-best-1", outputs(wrong(errors)))
        for size, name in names.items():
            write(f"{name}-beam-{beam}-best-1", outputs(wrong(max(0, errors - size))))
    found = ensembles.check(made)
    assert found.verdict == PARTLY and [row[0] for row in found.rows][1:] == ["ensemble of 2", "ensemble of 5"]
    assert "five models gain +" in found.ours and found.rows[2][3] == "100.00"


def test_rescoring_takes_the_average_of_the_two_scores(made):
    made, write = made
    lists = [([f"{text} z", text], [-1.0, -2.0]) for text in SENTENCES[:3]] + [([SENTENCES[3]], [-1.0])]
    write("attention-1-beam-12-best-12", lists)
    right = [[-5.0, -3.0] + [None] * 10] * 3 + [[-1.0] + [None] * 11]
    wrong_way = [[-1.0, -5.0] + [None] * 10] * 3 + [[-1.0] + [None] * 11]
    ensemble = "+".join(f"reversed-{seed}" for seed in range(1, 6))
    for name, values in (("forward-1", wrong_way), ("reversed-1", right), (ensemble, right)):
        write(f"{name}-of-attention-1-beam-12", values)
    found = rescoring.check(made)
    bleu = dict(found.rows)
    assert bleu["one reversed LSTM"] == bleu["best of each list"] == "100.00"
    assert bleu["one forward LSTM"] == bleu["first of the list"] != "100.00"
    assert found.verdict in (AGREES, PARTLY)


def test_sentences_are_grouped_by_equal_numbers():
    values = np.array([5, 1, 3, 3, 2, 4, 6, 8, 7, 9, 10, 12])
    groups = by_sentence._equal_groups(values)
    assert [sorted(values[rows]) for rows in groups] == [[1, 2], [3, 3], [4, 5], [6, 7], [8, 9], [10, 12]]
    values[:3] = 3
    assert [len(rows) for rows in by_sentence._equal_groups(values)] == [5, 1, 2, 2, 2]
    assert by_sentence._equal_groups(np.ones(5)) == [[0, 1, 2, 3, 4]]


def test_the_longest_sentences_are_compared_with_the_whole(made):
    made, write = made
    ensemble = "+".join(f"reversed-{seed}" for seed in range(1, 6))
    for name in (ensemble, "reversed-1", "forward-1", "attention-1"):
        write(f"{name}-beam-2-best-1", outputs([*SENTENCES[:3], "z z z"]))
    found = by_sentence.check_lengths(made)
    assert found.verdict == DIFFERS and [row[0] for row in found.rows] == ["1 to 1", "2 to 2", "3 to 3", "4 to 4"]


def test_sentences_in_the_passive_voice():
    triple = sentence_vectors.Triple
    words = ["A", "a", "man", "woman", "is", "by", "watching", "watched", "holding", "held", "."]

    class Task:
        source_vocabulary = text.Words(words)

    found = sentence_vectors.sentences(Task)
    assert triple("A man is holding a woman .", "A woman is held by a man .", "A woman is holding a man .") in found
    assert len(found) == 4
    Task.source_vocabulary = text.Words(["a", "man"])
    with pytest.raises(ValueError, match="vocabulary lacks words"):
        sentence_vectors.sentences(Task)


@pytest.mark.long
def test_the_time_of_minibatches_is_measured_in_turn(monkeypatch):
    monkeypatch.setattr(minibatches, "EXAMPLES", 300)
    train = sutskever2014.read(dataclasses.replace(SMALL, numbers=400))["train"]
    found = minibatches.measure(sutskever2014.with_defaults(SMALL), train)
    assert all(len(each["seconds"]) == 3 and min(each["seconds"]) > 0 for each in found.values())
    assert found["random"]["padding"] > found["of about the same length"]["padding"]


def test_a_finding_as_text_and_as_a_page():
    found = Finding("a", "Title", "It was so.", ("", "BLEU"), [("one", "1.00")], AGREES, "It is so.", "a.png")
    assert "one  1.00" in "\n".join(found.lines()) and "Ours, which agrees: It is so." in found.lines()
    assert "|  | BLEU |\n| --- | --- |\n| one | 1.00 |" in found.markdown() and "](plots/a.png)" in found.markdown()


@pytest.mark.long
def test_findings_from_the_training_to_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(minibatches, "EXAMPLES", 100)
    monkeypatch.setattr(sentence_vectors, "sentences", made_of_numbers)
    run_in = runner(sutskever2014, SMALL)
    run = run_in(tmp_path, findings=("all",))
    told = capsys.readouterr().out
    assert "Training of" in told and "minutes" in told
    record = json.loads((run / "findings.json").read_text())
    assert [each["name"] for each in record["findings"]] == list(findings.NAMES)
    assert {path.name for path in (run / "plots").iterdir()} >= {each["plot"] for each in record["findings"]}
    page = (run / "findings.md").read_text()
    assert all(f"## {each['title']}" in page for each in record["findings"])

    files = {path: path.stat().st_mtime_ns for path in run.glob("*/*/best.keras")}
    run_in(tmp_path, findings=("reversal",))  # trained members and their outputs are used again
    assert "computed once" not in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.glob("*/*/best.keras")} == files


def made_of_numbers(task):
    """Sentences of the vocabulary of number names, for the place of those with actors."""
    triple = sentence_vectors.Triple
    return [
        triple(f"{one} is {verb} {two} .", f"{two} is {verb} by {one} .", f"{two} is {verb} {one} .")
        for verb in ("hundred", "thousand")
        for one, two in (("one", "two"), ("two", "one"))
    ]
