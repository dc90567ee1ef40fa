"""The flags of searches and of constraints: what they stand for, and that a line's results are its own."""

import dataclasses
import re

import keras
import pytest

from keras_seq import decoding, text
from keras_seq.cli import as_flags
from keras_seq.commands.search_options import LineSearchOptions, named_flags, search_options
from keras_seq.tasks.search_options import find_constraints, get_search

if keras.backend.backend() != "tensorflow":
    pytest.skip("the command line runs on TensorFlow", allow_module_level=True)

SOURCE = ["a man rides a horse", "two men ride", "the dog runs far", "a horse", "the quick brown fox jumps over a dog"]
TARGET = ["ein mann reitet ein pferd", "zwei reiten", "der hund läuft weit", "ein pferd", "der fuchs springt"]
LINES = [f"{SOURCE[i % 5]}{' horse' * (i % 4)}" for i in range(13)]
VOCABULARY = text.Words(["ein", "mann", "reitet", "pferd", "der", "hund"])  # 4 to 9


def parts(folder):
    return keras.models.load_model(folder / "best.keras"), text.load(folder / "vocabulary" / "joint.words")


def arguments(**options):
    asked = search_options(LineSearchOptions(**options)) | {name: True for name in ("force",) if name in options}
    return {"search": get_search(asked), "constraints": find_constraints(asked, VOCABULARY)}


def test_flags_stand_for_searches_and_constraints(tmp_path):
    assert isinstance(arguments(search="greedy", max_length=5)["search"], decoding.Greedy)
    assert arguments(search="greedy")["search"].length_penalty(7.0) == 7.0 and arguments()["constraints"] == []
    found = arguments()["search"]
    assert dataclasses.replace(found, length_penalty=None) == decoding.Beam(length_penalty=None)
    assert found.length_penalty(7.0) == pytest.approx(7.0)
    assert arguments(length_penalty="gnmt", alpha=0.6)["search"].length_penalty(7.0) == pytest.approx(2**0.6)
    beam = {"num_beams": 6, "num_return": 2, "early_stop": "safe", "num_groups": 3, "diversity": 0.9}
    beam |= {"coverage_penalty": 0.2}
    found = arguments(search="beam", **beam)["search"]
    assert {name: getattr(found, name) for name in beam} == beam
    draws = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "seed": 3, "num_return": 2}
    assert arguments(search="sampling", **draws)["search"] == decoding.Sampling(**draws)
    assert arguments(search="contrastive", top_k=3, alpha=0.4)["search"] == decoding.Contrastive(top_k=3, alpha=0.4)
    assert arguments(search="contrastive")["search"] == decoding.Contrastive()
    (tmp_path / "ban").write_text("ein mann\n\n \nzebra\nhund\n")
    (tmp_path / "only").write_text("der hund\nein\nein hund\n")
    files = {"ban": tmp_path / "ban", "only": tmp_path / "only"}
    with pytest.warns(UserWarning, match="`ban`: 1 of them are not in the vocabulary"):
        found = arguments(min_length=2, end_within=9, no_repeat=3, repetition_penalty=1.2, **files)["constraints"]
    assert found == [
        decoding.MinLength(2),
        decoding.MaxLength(9),
        decoding.NoRepeat(3),
        decoding.RepetitionPenalty(1.2),
        decoding.Banned([[4, 5], [9]]),  # a zebra it could not say anyway
        decoding.Allowed([4, 8, 9]),
    ]
    assert named_flags(LineSearchOptions(top_k=3, ban=tmp_path)) == ["--top-k", "--ban"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"search": "greedy", "alpha": 1.0},
            "--alpha: --search greedy has no such option. Leave it out, or use beam.",
        ),
        ({"temperature": 1.0, "seed": 1}, "--temperature, --seed: --search beam has no.*or use sampling"),
        ({"search": "sampling", "num_beams": 3, "top_k": 2}, "--num-beams: --search sampling has no.*or use beam"),
        ({"search": "greedy", "num_beams": 3, "top_k": 2}, "--num-beams, --top-k: --search greedy.*Leave it out.$"),
        ({"search": "greedy", "num_return": 1}, "--num-return: --search greedy has no such option"),
        ({"search": "contrastive", "num_return": 2}, "--num-return: --search contrastive has no such option"),
        ({"search": "contrastive", "alpha": 1.5}, "--alpha.*1.5"),
        ({"search": "sampling", "force": "x"}, "--force: --search sampling has no such option.*or use beam"),
        ({"num_groups": 5, "force": "x"}, "--force does not work.*Leave --num-groups out"),
        ({"diversity": 0.5}, "--diversity requires --num-groups"),
        ({"min_length": 9, "max_length": 8}, "--min-length 9.*--max-length 8"),
        ({"min_length": 9, "end_within": 8}, "--min-length 9.*--end-within 8"),
        ({"end_within": 9, "max_length": 8}, "--end-within 9.*--max-length 8"),
        ({"search": "sampling", "top_p": 1.5}, "--top-p.*1.5"),
        ({"no_repeat": 0}, "`size`.*0"),
        ({"min_length": 0}, "`length`.*0"),
        ({"num_groups": 2}, "--num-groups.*2"),
        ({"ban": b"zebra\nquagga\n"}, "has no phrase whose words are all in the vocabulary"),
        ({"only": b"\n"}, "has no phrase whose words are all in the vocabulary"),
        ({"ban": b"ein\n\xff\n"}, "ban:2: byte 1 .0xff. is not valid UTF-8"),
    ],
)
def test_flags_that_do_not_go_are_named(options, told, tmp_path):
    for name, value in options.items():
        if isinstance(value, bytes):
            (tmp_path / name).write_bytes(value)
            options = options | {name: tmp_path / name}
    with pytest.raises(ValueError) as error:
        arguments(**options)
    assert re.search(told, as_flags(str(error.value), LineSearchOptions))


def test_a_lines_draws_are_its_own(keras_seq, folders):
    model, vocabulary = parts(folders["lstm"])
    options = {"temperature": 0.8, "top_k": 7, "seed": 5, "num_return": 2}
    flags = ["translate", "--model", folders["lstm"], "--search", "sampling", "--max-length", 9, "--json"]
    flags += ["--temperature", 0.8, "--top-k", 7, "--num-return", 2, "--seed", 5, "--chunk", 3, "--batch-tokens", 17]
    stdin = "\n".join(LINES[:4]).encode() + b"\n\xff\n" + "\n".join(LINES[5:]).encode() + b"\n"
    records = keras_seq(*flags, stdin=stdin).records
    assert "error" in records[4]
    found = [record["texts"] for record in records if record["line"] != 5]
    expected = decoding.generate(model, vocabulary, LINES, search="sampling", max_length=9, **options)
    assert found == expected[:4] + expected[5:]
    assert sum(len(set(texts)) == 2 for texts in found) > 9


def test_a_drawn_length_does_not_depend_on_longer_lines_beside_it(keras_seq, folders):
    """Without --max-length the room for a result is the line's own."""
    flags = ["translate", "--model", folders["lstm"], "--search", "sampling", "--temperature", 3, "--min-length", 90]
    short = LINES[:3]
    together = keras_seq(*flags, stdin="\n".join([*short, "horse " * 40]) + "\n").lines
    assert together[:3] == keras_seq(*flags, "--chunk", 1, stdin="\n".join(short) + "\n").lines
    assert len(together[0].split()) < 40 < len(together[3].split())


def test_an_output_ends_where_it_is_told_to(keras_seq, folders):
    model, vocabulary = parts(folders["lstm"])
    flags = ["translate", "--model", folders["lstm"], "--search", "greedy", "--end-within", 4]
    found = keras_seq(*flags, stdin="\n".join(LINES) + "\n").lines
    options = {"search": "greedy", "max_length": 4}
    ending = decoding.generate(model, vocabulary, LINES, constraints=[decoding.MaxLength(4)], **options)
    assert found == ending != decoding.generate(model, vocabulary, LINES, **options)
    assert {len(line.split()) for line in found} <= {0, 1, 2, 3}


def test_prefixes_and_forced_words_are_their_lines_own(keras_seq, folders, tmp_path):
    model, vocabulary = parts(folders["lstm"])
    begins = [["ein", "ein hund", "", "der fuchs springt"][i % 4] for i in range(13)]
    terms = [["zwei", "weit\tläuft der", "", "two men", " "][i % 5] for i in range(13)]
    terms[7], begins[9], terms[11] = "zebra", "ein zebra", "\t".join(TARGET)
    (tmp_path / "begins").write_text("\n".join(begins) + "\n")
    (tmp_path / "terms").write_text("\n".join(terms) + "\n")
    flags = ["translate", "--model", folders["lstm"], "--max-length", 12, "--num-beams", 4, "--no-repeat", 3, "--json"]
    flags += ["--prefix", tmp_path / "begins", "--force", tmp_path / "terms", "--chunk", 4, "--batch-tokens", 25]
    records = keras_seq(*flags, stdin="\n".join(LINES) + "\n").records
    assert {record["line"]: record["error"] for record in records if "error" in record} == {
        8: "--force: not all of 'zebra' is in the vocabulary",
        10: "--prefix: not all of 'ein zebra' is in the vocabulary",
        12: "no output satisfies all the given constraints",  # so many terms leave no room
    }
    good = [number for number, record in enumerate(records) if "text" in record]
    for number in good:
        told, words = f" {records[number]['text']} ", records[number]["text"].split()
        assert told.startswith(f" {begins[number]} ") or not begins[number]
        assert all(f" {term} " in told for term in terms[number].split("\t") if term.strip())
        runs = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
        assert len(set(runs)) == len(runs)

    def ids(texts):
        return [row for row in vocabulary.tokenize(texts).to_list() if row]

    prefix = decoding.Prefix(decoding.padded_phrases([ids([each]) for each in begins])[:, 0])
    forced = decoding.RequiredPhrases(decoding.padded_phrases([ids(own.split("\t")) for own in terms]))
    options = {"num_beams": 4, "max_length": 12, "constraints": [prefix, forced, decoding.NoRepeat(3)]}
    expected = decoding.generate(model, vocabulary, LINES, **options)
    assert [records[number]["text"] for number in good] == [expected[number] for number in good]


def test_a_language_model_draws_and_keeps_to_what_is_allowed(keras_seq, folders, tmp_path):
    model, vocabulary = parts(folders["rnn"])
    (tmp_path / "ban").write_text("ein pferd\nhorse\n")
    (tmp_path / "begins").write_text("der hund\n\nzwei\n")
    prompts = ["a horse", "", "the quick brown fox"]
    flags = ["generate", "--model", folders["rnn"], "--search", "sampling", "--seed", 9, "--max-length", 12]
    flags += ["--ban", tmp_path / "ban", "--prefix", tmp_path / "begins", "--no-echo"]
    found = keras_seq(*flags, stdin="\n".join(prompts) + "\n").lines
    assert found[0].startswith("der hund") and found[2].startswith("zwei")
    assert not any("horse" in line.split() or "ein pferd" in line for line in found)
    begins = [vocabulary.tokenize([each]).to_list()[0] for each in ("der hund", "", "zwei")]
    banned = [vocabulary.tokenize([each]).to_list()[0] for each in ("ein pferd", "horse")]
    constraints = [decoding.Prefix([row + [0] * (2 - len(row)) for row in begins]), decoding.Banned(banned)]
    options = {"search": decoding.Sampling(seed=9), "max_length": 12, "constraints": constraints}
    assert found == decoding.generate(model, vocabulary, prompts, **options)
    refused = keras_seq("generate", "--model", folders["rnn"], "--coverage-penalty", 0.1, stdin="a\n")
    assert refused.code == 2 and "--coverage-penalty: a language model has no source" in refused.err


def test_groups_and_coverage(keras_seq, folders):
    model, vocabulary = parts(folders["lstm"])
    flags = ["--num-beams", 4, "--num-groups", 2, "--diversity", 2, "--num-return", 4, "--coverage-penalty", 0.3]
    found = keras_seq("translate", "--model", folders["lstm"], "--max-length", 5, "--json", *flags, stdin=SOURCE[0])
    options = {"num_beams": 4, "num_groups": 2, "diversity": 2.0, "num_return": 4, "coverage_penalty": 0.3}
    assert [found.records[0]["texts"]] == decoding.generate(model, vocabulary, SOURCE[:1], max_length=5, **options)


@pytest.mark.parametrize("count", [1, 3])
def test_files_beside_have_as_many_lines_as_the_input(count, keras_seq, folders, tmp_path):
    (tmp_path / "begins").write_text("ein\n" * count)
    flags = ["translate", "--model", folders["lstm"], "--max-length", 4, "--num-beams", 1]
    result = keras_seq(*flags, "--prefix", tmp_path / "begins", stdin="a horse\na man\n")
    told = "It has 1, the input has more." if count == 1 else "It has more, the input has 2."
    assert result.code == 2 and f"begins must have a line for each line of the input. {told}" in result.err
    assert len(result.lines) == min(count, 2)


def test_files_are_looked_at_first(keras_seq, folders, tmp_path):
    for flag in ("--ban", "--only", "--prefix", "--force"):
        result = keras_seq("translate", "--model", folders["lstm"], flag, tmp_path / "none", stdin="a\n")
        assert result.code == 2 and "none does not exist" in result.err
    result = keras_seq("translate", "--model", folders["lstm"], "--prefix", "-", stdin="a\n")
    assert result.code == 2 and "Only one of the files can be -" in result.err
    (tmp_path / "terms").write_text("ein\n")
    argv = ["export", "--model", folders["lstm"], "--output", tmp_path / "out", "--force", tmp_path / "terms"]
    result = keras_seq(*argv)
    assert result.code == 2 and "unrecognized arguments: --force" in result.err


@pytest.mark.long
def test_contrastive_search(keras_seq, folders):
    """Of a language model and of a translator; what comes out is not what greedy search says."""
    for verb, name in (("generate", "transformer"), ("translate", "lstm")):
        model, vocabulary = parts(folders[name])
        options = {"search": "contrastive", "top_k": 3, "alpha": 0.7, "max_length": 4}
        expected = decoding.generate(model, vocabulary, SOURCE, **options)
        assert expected != decoding.generate(model, vocabulary, SOURCE, search="greedy", max_length=4)
        flags = [verb, "--model", folders[name], "--search", "contrastive", "--top-k", 3, "--alpha", 0.7]
        flags += ["--max-length", 4, *(["--no-echo"] if verb == "generate" else [])]
        assert keras_seq(*flags, stdin="\n".join(SOURCE)).lines == expected
