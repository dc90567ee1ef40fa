import gzip
import math
import os
import re
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from keras_seq import decoding, text
from keras_seq.commands.lines import chunks
from keras_seq.tasks import batching, loading

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

SOURCE = ["a man rides a horse", "two men ride", "the dog runs far", "a horse", "the quick brown fox jumps over a dog"]
TARGET = ["ein mann reitet ein pferd", "zwei reiten", "der hund läuft weit", "ein pferd", "der fuchs springt"]


def parts(folder):
    return keras.models.load_model(folder / "best.keras"), text.load(folder / "vocabulary" / "joint.words")


def test_translate_is_generate_in_any_order_and_chunk(keras_seq, folders, tmp_path):
    model, vocabulary = parts(folders["lstm"])
    texts = [SOURCE[i % 5] + " horse" * (i % 4) for i in range(23)] + ["", " "]
    expected = decoding.generate(model, vocabulary, texts, num_beams=2, max_length=9)
    flags = ["translate", "--model", folders["lstm"], "--max-length", 9, "--num-beams", 2]
    assert len(set(expected)) > 4
    assert keras_seq(*flags, stdin="\n".join(texts)).lines == expected
    assert keras_seq(*flags, "--chunk", 3, "--batch-tokens", 17, stdin="\n".join(texts) + "\n").lines == expected
    (tmp_path / "a.gz").write_bytes(gzip.compress("\n".join(texts[:10]).encode()))
    (tmp_path / "b").write_text("\r\n".join(texts[10:]) + "\r\n", newline="")
    found = keras_seq(*flags, tmp_path / "a.gz", tmp_path / "b", "--output", tmp_path / "out.gz")
    assert not found.out and gzip.decompress((tmp_path / "out.gz").read_bytes()).decode().split("\n")[:-1] == expected


def test_bad_lines_stop_nothing_and_are_told(keras_seq, folders):
    stdin = b"two men ride\n\xff\xfe a\nnul \0\n" + b"horse " * 40 + b"\na horse"
    flags = [
        "translate",
        "--model",
        folders["lstm"],
        "--search",
        "greedy",
        "--max-length",
        8,
        "--max-source-length",
        30,
    ]
    plain, told = keras_seq(*flags, stdin=stdin), keras_seq(*flags, "--json", stdin=stdin)
    good = keras_seq(*flags, stdin="two men ride\na horse").lines
    assert plain.code == 0 and plain.lines == [good[0], "", "", "", good[1]]
    assert "3 of 5 lines have no result" in plain.err and "stdin:2: byte 1 (0xff)" in plain.err
    assert "stdin:4: 41 tokens are more than" in plain.err
    assert [record["line"] for record in told.records] == [1, 2, 3, 4, 5]
    assert [("error" in record) for record in told.records] == [False, True, True, True, False]
    assert [told.records[0]["text"], told.records[4]["text"]] == good


@pytest.mark.long
def test_nbest_lists_come_sorted_and_are_the_search(keras_seq, folders):
    model, vocabulary = parts(folders["lstm"])
    flags = ["translate", "--model", folders["lstm"], "--max-length", 7, "--num-beams", 4, "--num-return", 3]
    records = keras_seq(*flags, "--alpha", 0.5, "--json", stdin="\n".join(SOURCE)).records
    penalty = decoding.power_penalty(0.5)
    options = {"num_beams": 4, "num_return": 3, "max_length": 7, "length_penalty": penalty}
    assert [record["texts"] for record in records] == decoding.generate(model, vocabulary, SOURCE, **options)
    for record in records:
        lengths = (np.array(record["log_probs"]) / record["scores"]) ** 2  # alpha is a half
        np.testing.assert_allclose(lengths, np.round(lengths), atol=1e-3)
        assert (np.round(lengths) >= 1).all() and (np.round(lengths) <= 7).all()
    lines = keras_seq(*flags, "--alpha", 0.5, stdin="\n".join(SOURCE)).lines
    assert len(lines) == 15 and lines[4].startswith(f"1 ||| {records[1]['texts'][1]} ||| log_prob= ")


def test_a_saved_model_says_the_same_and_takes_no_flags(keras_seq, folders):
    stdin = "\n".join([SOURCE[0], "", SOURCE[3]])
    ours = keras_seq("translate", "--model", folders["lstm"], "--num-beams", 3, "--json", stdin=stdin).records
    theirs = keras_seq("translate", "--model", folders["served"], "--json", stdin=stdin).records
    for one, other in zip(ours, theirs, strict=True):
        assert one["text"] == other["text"] and one["score"] == pytest.approx(other["score"], abs=1e-5)
    refused = keras_seq("translate", "--model", folders["served"], "--num-beams", 3, stdin=stdin)
    assert refused.code == 2 and "--num-beams" in refused.err and "run folder" in refused.err
    for verb in (["score", __file__, __file__], ["export", "--output", "x"], ["average"]):
        refused = keras_seq(*verb, "--model", folders["served"])
        assert refused.code == 2 and "is a SavedModel" in refused.err and "Give the run folder" in refused.err


@pytest.mark.parametrize("name", ["rnn", pytest.param("transformer", marks=pytest.mark.long)])
def test_a_language_model_goes_on_as_step_by_step(name, keras_seq, folders):
    model, vocabulary = parts(folders[name])
    prompts = ["a horse", "", "the quick brown fox", "two"]
    flags = ["generate", "--model", folders[name], "--search", "greedy", "--max-length", 6, "--json"]
    records = keras_seq(*flags, stdin="\n".join(prompts) + "\n\n").records
    for prompt, record in zip(prompts, records, strict=False):
        ids = [vocabulary.start_id, *vocabulary.tokenize([prompt]).to_list()[0]]
        total, begin = 0.0, len(ids)
        while len(ids) < begin + 6 and ids[-1] != vocabulary.end_id:
            logits = np.asarray(model(np.array([ids])))[0, -1].astype("float64")
            ids.append(int(logits.argmax()))
            total += logits.max() - np.log(np.exp(logits).sum())
        assert record["text"] == vocabulary.detokenize([ids]).numpy()[0].decode()
        assert record["log_prob"] == pytest.approx(total, abs=1e-4)
    alone = keras_seq(*flags, "--no-echo", stdin="a horse").records[0]
    assert f"a horse {alone['text']}".strip() == records[0]["text"]


def test_score_is_the_models_own_log_probability(keras_seq, folders, tmp_path):
    model, vocabulary = parts(folders["lstm"])
    (tmp_path / "s").write_text("\n".join([*SOURCE, "a"]) + "\n")
    (tmp_path / "t").write_bytes("\n".join(TARGET).encode() + b"\n\xff\n")
    flags = ["score", "--model", folders["lstm"], tmp_path / "s", tmp_path / "t"]
    found = keras_seq(*flags, "--json", "--batch-tokens", 20)
    total = count = 0
    for source, target, record in zip(SOURCE, TARGET, found.records, strict=False):
        ids = [[*vocabulary.tokenize([line]).to_list()[0], vocabulary.end_id] for line in (source, target)]
        inputs = {"source": np.array(ids[:1]), "target": np.array([[vocabulary.start_id, *ids[1][:-1]]])}
        log_probs = keras.ops.convert_to_numpy(keras.ops.log_softmax(model(inputs)))[0]
        expected = log_probs[np.arange(len(ids[1])), ids[1]]
        np.testing.assert_allclose(record["token_log_probs"], expected, atol=1e-5)
        assert record["tokens"] == [*target.split(), "</s>"]
        assert record["log_prob"] == pytest.approx(expected.sum(), abs=1e-4)
        total, count = total + expected.sum(), count + len(expected)
    assert "error" in found.records[5] and "1 of 6 lines has no result" in found.err
    (summary,) = keras_seq(*flags, "--summary", "--json").records
    assert summary["perplexity"] == pytest.approx(math.exp(-total / count), rel=1e-4)
    assert (summary["lines"], summary["tokens"], summary["without_result"]) == (5, count, 1)
    (tmp_path / "t").write_text("zwei\n")
    assert "has 1 lines" in keras_seq(*flags).err


def test_the_search_and_the_score_agree_on_what_it_found(keras_seq, folders):
    flags = ["--model", folders["rnn"]]
    stdin = "\n".join([*SOURCE, *TARGET, "a", "two"])
    found = keras_seq("generate", *flags, "--num-beams", 2, "--max-length", 40, "--json", stdin=stdin).records
    whole = keras_seq("score", *flags, "--json", stdin="\n".join(record["text"] for record in found)).records
    compared = 0
    for prompt, record, scored in zip(stdin.split("\n"), found, whole, strict=True):
        new = scored["token_log_probs"][len(prompt.split()) :]
        if len(new) == round(record["log_prob"] / record["score"]) < 40:  # it ended, without special tokens inside
            compared += 1
            assert sum(new) == pytest.approx(record["log_prob"], abs=1e-3)
    assert compared


def test_nbest_rescored_and_reranked(keras_seq, folders, tmp_path):
    pairs = [(number, candidate) for number in range(5) for candidate in (TARGET[number], "ein", TARGET[number - 1])]
    (tmp_path / "s").write_text("\n".join(SOURCE) + "\n")
    (tmp_path / "n").write_text("".join(f"{number} ||| {candidate} ||| lm= -1 ||| 0\n" for number, candidate in pairs))
    (tmp_path / "sources").write_text("\n".join(SOURCE[number] for number, _ in pairs) + "\n")
    (tmp_path / "targets").write_text("\n".join(candidate for _, candidate in pairs) + "\n")
    flags = ["score", "--model", folders["lstm"]]
    scored = keras_seq(*flags, "--n-best", "--name", "again", tmp_path / "s", tmp_path / "n")
    expected = keras_seq(*flags, "--json", tmp_path / "sources", tmp_path / "targets").records
    for line, record, (number, candidate) in zip(scored.lines, expected, pairs, strict=True):
        told = re.fullmatch(rf"{number} \|\|\| {candidate} \|\|\| lm= -1 again= (\S+) \|\|\| 0", line)
        assert float(told[1]) == pytest.approx(record["log_prob"], rel=1e-4)
    for weights in (["again=1"], ["again=-1", "score=0"]):
        sign = float(weights[0].split("=")[1])
        expected = []
        for number in range(5):
            lines = [line for line in scored.lines if line.startswith(f"{number} ")]
            expected.append(max(lines, key=lambda line: sign * float(re.search(r"again= (\S+)", line)[1])))
        found = keras_seq("rerank", "--weights", *weights, stdin=scored.out)
        assert found.lines == [line.split(" ||| ")[1] for line in expected]


def test_a_number_far_ahead_costs_no_list_but_its_own_line(keras_seq):
    numbers = [0, 90, 0, 1, 5, 5, 3, 8]
    stdin = "".join(f"{number} ||| {text} ||| ||| {text}\n" for text, number in enumerate(numbers))
    found = keras_seq("rerank", stdin=stdin)
    assert found.lines == ["2", "3", "", "", "", "5", "", "", "7"]
    assert "Received: 90 between 0 and 0" in found.err and "Received: 3 after 5" in found.err


@pytest.mark.parametrize(
    "length", [4, pytest.param(3, marks=pytest.mark.long), pytest.param(6, marks=pytest.mark.long)]
)
def test_the_first_of_a_list_is_the_translation_and_what_rerank_chooses(length, keras_seq, folders, tmp_path):
    flags = ["translate", "--model", folders["lstm"], "--num-beams", 6, "--alpha", 0.3]
    stdin = "\n".join([*SOURCE, "", *TARGET]).encode() + b"\n\xff\n"
    alone = keras_seq(*flags, "--max-length", length, "--json", stdin=stdin)
    several = keras_seq(*flags, "--num-return", 6, "--max-length", length, stdin=stdin).out
    chosen = keras_seq("rerank", stdin=several)
    assert chosen.lines == [record.get("text", "") for record in alone.records] and chosen.lines[-1] == ""
    told = sum(not record.get("finished", True) for record in alone.records)
    assert f"{told} of 11 results did not end by themselves" in alone.err or not told
    (tmp_path / "list").write_text(several)
    (tmp_path / "source").write_bytes(stdin)
    rescored = keras_seq("score", "--model", folders["lstm"], "--n-best", tmp_path / "source", tmp_path / "list")
    assert keras_seq("rerank", stdin=rescored.out).lines == chosen.lines
    again = keras_seq("rerank", "--num-return", 6, stdin=several).out
    assert keras_seq("rerank", stdin=again).lines == chosen.lines


def test_what_was_cut_off_comes_behind_what_was_not(keras_seq):
    rows = [("a", -3, 1), ("b", -1, 0), ("c", -2, 1), ("d", -0.5, 0)]
    stdin = "".join(f"0 ||| {text} ||| finished= {end} ||| {score}\n" for text, score, end in rows)
    stdin += "1 ||| e ||| finished= 0 ||| -2\n1 ||| f ||| finished= 0 ||| -1\n"
    assert keras_seq("rerank", stdin=stdin).lines == ["c", "f"]
    ordered = keras_seq("rerank", "--num-return", 9, stdin=stdin).lines
    assert [line.split(" ||| ")[1] for line in ordered] == list("cadbfe")


def test_the_last_sentences_are_not_lost(keras_seq):
    stdin = "0 ||| a ||| lm= -1 ||| -1\n1 ||| |||\n2 ||| b ||| ||| -3\n3 |||  ||| \n"
    assert keras_seq("rerank", stdin=stdin).lines == ["a", "", "b", ""]
    found = keras_seq("rerank", "--weights", "lm=1", "--json", stdin=stdin)
    assert ["error" in record for record in found.records] == [False, True, True, True]
    assert "1 of 4 lines has no result" in found.err and "no score named 'lm'" in found.err
    lists = keras_seq("rerank", "--num-return", 2, stdin=stdin).lines
    assert lists[1:] == ["1 |||  |||", "2 ||| b |||  ||| -3", "3 |||  |||"]


def test_generate_writes_the_line_as_it_was_typed(keras_seq, folders):
    lines = ["a horse", "A  Horse", "zwölf\tcafé ", "  two\rmen", "10\u00a0000\u3000men", "\u200c\U0001f40e", "", " "]
    stdin = "\n".join(lines) + "\n"
    for flags in (["--model", folders["rnn"], "--search", "greedy", "--max-length", 4], ["--model", folders["prose"]]):
        echoed = keras_seq("generate", *flags, stdin=stdin).lines
        said = keras_seq("generate", *flags, "--no-echo", stdin=stdin).lines
        for line, whole, rest in zip(lines, echoed, said, strict=True):
            space = " " if line.strip() and line[-1] != " " and rest else ""
            assert whole == line + space + rest
    several = ["--search", "sampling", "--num-return", 2, "--max-length", 3]
    found = keras_seq("generate", "--model", folders["rnn"], *several, stdin="a ||| b\rc\n").lines
    assert len(found) == 2 and all(line.startswith("0 ||| a ||| b\rc ") for line in found)


def test_rerank_by_hand(keras_seq):
    stdin = (
        b"0 ||| a ||| d: -1 -2 lm= -3 ||| -9\n0 ||| b ||| d: -2 -2 lm= -1 ||| -8\nno list\n\xff\n"
        b"2 ||| c d ||| d: 0 0 lm= 0 ||| 0\n2 ||| e ||| lm= 0 ||| 1\n1 ||| f ||| ||| 0\n"
    )
    assert keras_seq("rerank", stdin=stdin).lines == ["b", "", "e"]
    found = keras_seq("rerank", "--weights", "d.1=5", "lm=0.5", "--json", stdin=stdin)
    assert found.records[0] == {"line": 1, "text": "a", "score": -6.5} and found.records[2]["text"] == "c d"
    assert "there is no candidate" in found.records[1]["error"] and "4 of 7 lines have no result" in found.err
    assert keras_seq("rerank", "--num-return", 2, stdin=stdin).lines[0] == "0 ||| b ||| d.1= -2 d.2= -2 lm= -1 ||| -8"
    refused = keras_seq("rerank", "--weights", "ml=1", stdin=stdin)
    assert refused.code == 2 and "no score named 'ml'. It has: d.1, d.2, lm, score" in refused.err
    assert "--weights takes name=number" in keras_seq("rerank", "--weights", "lm", stdin=stdin).err


def test_evaluate(keras_seq, folders, tmp_path):
    (tmp_path / "r").write_text("\n".join(TARGET) + "\n")
    (tmp_path / "s").write_text("\n".join(SOURCE) + "\n")
    (perfect,) = keras_seq("evaluate", tmp_path / "r", "--json", stdin="\n".join(TARGET)).records
    assert perfect["bleu"] == pytest.approx(100) and perfect["exact_match"] == 1 and perfect["lines"] == 5
    assert "BLEU" in keras_seq("evaluate", tmp_path / "r", tmp_path / "r").lines[0]
    flags = ["--model", folders["lstm"], "--num-beams", 2, "--max-length", 9]
    made = keras_seq("translate", *flags, tmp_path / "s").out
    (one,) = keras_seq("evaluate", tmp_path / "r", "--json", stdin=made).records
    (other,) = keras_seq("evaluate", tmp_path / "r", *flags, "--source", tmp_path / "s", "--json").records
    assert one == other and one["bleu"] < 50
    assert "5 lines, stdin 1" in keras_seq("evaluate", tmp_path / "r", stdin="a").err


def damaged(folder, tmp_path, kind):
    """A copy of a run folder with one thing wrong."""
    import shutil

    copy = tmp_path / kind
    shutil.copytree(folder, copy)
    best, words = copy / "best.keras", copy / "vocabulary" / "joint.words"
    content = best.read_bytes()
    if kind == "cut":
        best.write_bytes(content[: len(content) // 2])
    elif kind == "flipped":
        middle = len(content) // 2
        best.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif kind == "no best":
        best.unlink()
    elif kind == "no vocabulary":
        words.unlink()
    elif kind == "short vocabulary":
        words.write_text("\n".join(words.read_text().split("\n")[:9]) + "\n")
    elif kind == "no words":
        words.write_bytes(b"\xff\xfe\0\1")
    elif kind == "lambda":
        tokens = keras.Input((None,))
        keras.Model(tokens, keras.layers.Lambda(lambda x: x + 1)(tokens)).save(best)
    elif kind == "dense":
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(best)
    elif kind == "no config":
        with zipfile.ZipFile(best, "w") as archive:
            archive.writestr("config.json", "{")
    return copy


@pytest.mark.parametrize(
    ("kind", "told"),
    {
        "cut": ["best.keras is damaged", "Copy the file again"],
        "flipped": ["best.keras is damaged", "checksum"],
        "no best": ["best.keras does not exist", "Continue the training"],
        "no vocabulary": ["vocabulary must hold", "Copy the vocabulary"],
        "short vocabulary": ["vocabulary has 9 tokens", "cut short"],
        "no words": ["joint.words is not a vocabulary", "Copy it again"],
        "lambda": ["best.keras could not be loaded", "is not run"],
        "dense": ["does not decode"],
        "no config": ["best.keras could not be loaded"],
    }.items(),
)
def test_damaged_run_folders(kind, told, keras_seq, folders, tmp_path):
    copy = damaged(folders["lstm"], tmp_path, kind)
    for verb in ["translate", "inspect"][: 1 if kind == "dense" else 2]:  # any model can be inspected
        result = keras_seq(verb, "--model", copy, stdin="a")
        assert result.code == 2 and not result.out and result.err.count("\n") == 1
        assert result.err.startswith("error: ") and all(part in result.err for part in [*told, str(copy)]), result.err


@pytest.mark.parametrize(
    "file", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
def test_damaged_saved_models(file, keras_seq, folders, tmp_path):
    import shutil

    copy = tmp_path / "served"
    shutil.copytree(folders["served"], copy)
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[: len(content) // 2])
    result = keras_seq("translate", "--model", copy, stdin="a")
    assert result.code == 2 and f"{copy} is damaged" in result.err and result.err.count("\n") == 1, result.err


def test_what_is_no_model_and_no_file(keras_seq, folders, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine\n")
    for argv, told in (
        (["--model", tmp_path / "none"], "none does not exist"),
        (["--model", tmp_path], "neither best.keras"),
        (["--model", tmp_path / "thesis.txt"], "is a file"),
        (["--model", folders["rnn"]], "is a task of generation, not of translation. Use keras-seq generate"),
        (["--model", folders["lstm"], tmp_path / "no.txt"], "no.txt does not exist"),
        (["--model", folders["lstm"], tmp_path], "is a folder"),
        (["--model", folders["lstm"], "--num-beams", 0], "--num-beams must be"),
        (
            ["--model", folders["lstm"], "--search", "greedy", "--alpha", 1],
            "--alpha: --search greedy has no such option",
        ),
        (["--model", folders["lstm"], "--output", tmp_path / "no" / "x"], "could not be written"),
        (
            ["--model", folders["lstm"], tmp_path / "thesis.txt", "--output", tmp_path / "thesis.txt"],
            "is an input file",
        ),
        (["--model", folders["lstm"], "--chunk", 0], "--chunk must be"),
    ):
        result = keras_seq("translate", *argv, stdin="a")
        assert result.code == 2 and told in result.err and result.err.count("\n") == 1, result.err
    assert (tmp_path / "thesis.txt").read_text() == "mine\n"


@pytest.mark.long
def test_random_bytes(keras_seq, folders):
    rng = np.random.default_rng(5)
    lines = [
        rng.integers(0, 256, rng.integers(0, 30)).astype("uint8").tobytes().replace(b"\n", b"") for _ in range(100)
    ]
    for model in ("lstm", "served"):
        result = keras_seq("translate", "--model", folders[model], "--json", stdin=b"\n".join(lines) + b"\n")
        assert result.code == 0 and [record["line"] for record in result.records] == list(range(1, 101))
        for line, record in zip(lines, result.records, strict=True):
            good = b"\0" not in line and line.decode("utf-8", "ignore").encode() == line.removesuffix(b"\r")
            assert ("text" in record) == good or line.endswith(b"\r")


def test_one_trace_for_all_shapes(folders, monkeypatch):
    import tensorflow as tf

    made = []
    original = tf.function

    def counted(*args, **options):
        made.append(original(*args, **options))
        return made[-1]

    monkeypatch.setattr(tf, "function", counted)
    compute = loading.load(folders["lstm"]).predictor(num_beams=2, max_length=6, batch_tokens=40)
    for count in (1, 2, 5):
        compute([line + " horse" * count for line in SOURCE[:count]])
    assert len(made) == 2 and [one.experimental_get_tracing_count() for one in made] == [1, 1]


def test_a_batch_that_fails_is_halved_to_the_row_that_fails():
    import tensorflow as tf

    def compute(rows):
        if 3 in rows:
            raise tf.errors.ResourceExhaustedError(None, None, "no\nmemory")
        return [10 * row for row in rows]

    found = batching.in_batches([4, 5, 6, 7, 300, 2], batching.Limits(1000, 100), compute)
    assert found[:3] == [0, 10, 20] and found[5] == 50
    assert found[3].reason == "the model fails: no memory" and "300 tokens" in found[4].reason


def test_chunks_at_pauses_and_before_an_error():
    def items():
        yield from [1, 2, 3, None, None, 4, 5]
        raise ValueError("damaged")

    found = chunks(items(), 2)
    assert [next(found) for _ in range(3)] == [[1, 2], [3], [4, 5]]
    with pytest.raises(ValueError, match="damaged"):
        next(found)


@pytest.mark.long
def test_stdin_of_a_process(folders):
    """What comes before a pause is answered before the end; a reader that leaves ends it without a word."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "keras_seq", "translate", "--model", str(folders["lstm"])]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(b"two men ride\na horse\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(b"\n") and process.stdout.readline().endswith(b"\n")
        process.stdout.close()
        process.stdin.write(b"a horse\n" * 3)
        process.stdin.close()
        told = process.stderr.read()
        assert process.wait(60) == 1 and b"Error" not in told and b"Traceback" not in told, told


LINES = [
    "a horse",
    "Zwölf  Männer ",
    "a\rb",
    "\u00a0",
    "10\u202f000\u3000x",
    "می\u200cخواهم",
    "🐎\u200d",
    "\x0c",
    "\x0b a",
]
LINES += ["a\u2028b", "\ufeff", "\ufeffa", "a\0b", "\xff", "", " ", "a ||| b", "|||||", "\t", "a\tb", "\x85", "\x1c"]


@given(st.lists(st.sampled_from(LINES), max_size=8), st.booleans(), st.sampled_from(["translate", "generate", "score"]))
@example(parts_of=["\ufeff"], ends=False, verb="translate")
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_verb_has_a_line_for_each_line(keras_seq, folders, parts_of, ends, verb):
    content = "\n".join(parts_of).encode("utf-8").replace("\xff".encode(), b"\xff") + b"\n" * (ends and bool(parts_of))
    count = content.count(b"\n") + (content[-1:] not in (b"", b"\n"))
    if b"\n" not in content and b"\r" in content.strip(b"\r"):
        count = 2  # a carriage return ends a line where no line feed does
    if content.split(b"\n")[-1] == "\ufeff".encode():
        count -= 1  # a byte order mark is no line
    model = folders["lstm" if verb == "translate" else "rnn"]
    flags = [verb, "--model", model, *([] if verb == "score" else ["--search", "greedy", "--max-length", 3])]
    plain = keras_seq(*flags, stdin=content)
    assert plain.code == 0 and len(plain.lines) == count == len(keras_seq(*flags, "--json", stdin=content).records)
    if verb == "generate" and count != 2:
        for line, told in zip(content.split(b"\n"), plain.lines, strict=False):
            line = line.removeprefix("\ufeff".encode()).rstrip(b"\r").decode("utf-8", "replace")
            assert not told or told.startswith(line)
    if verb == "translate" and count:
        lists = keras_seq(*flags[:3], "--max-length", 3, "--num-beams", 2, "--num-return", 2, stdin=content).out
        assert len(keras_seq("rerank", stdin=lists).lines) == count
