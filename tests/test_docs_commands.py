"""The commands of the pages, `keras-seq VERB ...` and `python -m recipes.NAME ...`: their verbs and flags exist."""

import functools
import importlib
import pathlib
import re
import shlex

import pytest

from keras_seq import cli
from keras_seq.__main__ import OF_RECIPES, RECIPES, VERBS
from keras_seq.commands import compare, tune

ROOT = pathlib.Path(__file__).parents[1]
PATTERNS = ("*.md", "docs/**/*.md", "recipes/*.md", "saved_models/*.md", "benchmarks/**/*.md")
PAGES = sorted(str(path.relative_to(ROOT)) for pattern in PATTERNS for path in ROOT.glob(pattern))
PYTHON = re.compile(r"^```python\n.*?^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?:keras-seq |python -m (?:keras_seq |recipes\.))\S.*")
INLINE = re.compile(r"(?<!`)`((?:keras-seq|python -m (?:keras_seq|recipes\.))[^`]*)`")
PLACEHOLDERS = {"VERB", "NAME", "RECIPE", "recipes.NAME"}
REDIRECTION = re.compile(r"[<>]+")


def commands(text: str) -> list[str]:
    """The commands in blocks of code."""
    in_block, found = False, []
    for line in PYTHON.sub("", text).replace("\\\n", " ").split("\n"):
        if line.startswith("```"):
            in_block = not in_block
        elif in_block or line.startswith("    "):
            found += COMMAND.findall(line)
    return [command for command in found if "..." not in command]


def mentions(text: str) -> list[str]:
    """The commands in the text, which need not be whole."""
    return INLINE.findall(PYTHON.sub("", text))


def arguments(command: str) -> list[list[str]]:
    """The words of each of the command's programs, without redirections, comments and remarks."""
    lexer = shlex.shlex(re.split(r" {4,}", command)[0], posix=True, punctuation_chars="|<>&")
    lexer.whitespace_split = True
    programs: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if set(word) <= set("|&"):
            programs.append([])
        elif REDIRECTION.fullmatch(word):
            next(words)
        else:
            programs[-1].append(word)
    return [program for program in programs if program]


def parser(words: list[str]):
    """The parser of a program, and the words that it parses. None for another program."""
    if words[0] == "python" and words[1] == "-m":
        words = words[2:]
    name, *others = words
    if name.startswith("recipes.") and name not in PLACEHOLDERS:
        return of_recipe("compare" if name == "recipes.compare" else "train", name, others)
    if name in ("keras-seq", "keras_seq") and others and others[0] not in PLACEHOLDERS:
        verb, *others = others
        if verb in OF_RECIPES:
            default = verb == "compare" and (not others or others[0].startswith("-"))
            return of_recipe(verb, *(["memory", others] if default else [others[:1] and others[0], others[1:]]))
        assert verb.startswith("-") or verb in VERBS, f"there is no verb {verb}"
        return None if verb.startswith("-") else (flags(VERBS[verb].options), others)
    return None


def of_recipe(verb: str, name: str, others: list[str]):
    if not name or name.startswith("-") or name in PLACEHOLDERS:
        return None
    if name == "recipes.compare":
        name, *others = others
        if name in PLACEHOLDERS:
            return None
    name = name.removeprefix("recipes.")
    assert name in RECIPES, f"there is no recipe {name}"
    module = importlib.import_module(f"recipes.{name}")
    options = {"train": lambda module: module.Options, "tune": tune.tune_options, "compare": compare.compare_options}
    return flags(options[verb](module)), others


@functools.cache
def flags(options: type):
    return cli.flags(options)


def check(command: str, is_whole: bool = True) -> int:
    """Parses each program of a command, or only looks its flags up. Returns the number of those that are ours."""
    count = 0
    for words in arguments(command):
        found = parser(words)
        if found and "--help" not in words:
            parsed, others = found
            unknown = [word for word in others if word.startswith("--") and word not in parsed._option_string_actions]
            assert not unknown, f"unknown flags: {unknown}"
            if is_whole:
                parsed.parse_intermixed_args(others)
            count += 1
    return count


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_have_known_flags(page):
    content = (ROOT / page).read_text(encoding="utf-8")
    for command, is_whole in [(line, True) for line in commands(content)] + [
        (name, False) for name in mentions(content)
    ]:
        try:
            check(command, is_whole)
        except (SystemExit, AssertionError, ValueError) as error:
            pytest.fail(f"{command}: {error}")


def test_a_wrong_command_is_found():
    page = (
        "Text.\n\n    keras-seq translate --modell runs/a < a.en | head\n\n`keras-seq trains`, `keras-seq tag --json`\n"
    )
    page += (
        "```python\nkeras-seq wrong\n```\n```\n$ keras-seq translate --model runs/a \\\n  --no-repeat 5  # and\n```\n"
    )
    wrong, right = commands(page)
    assert arguments(wrong) == [["keras-seq", "translate", "--modell", "runs/a"], ["head"]]
    with pytest.raises(AssertionError, match="--modell"):
        check(wrong)
    assert check(right) == 1
    with pytest.raises(SystemExit):  # it needs --model
        check("keras-seq tag --json")
    unknown, incomplete = mentions(page)
    with pytest.raises(AssertionError, match="no verb trains"):
        check(unknown, is_whole=False)
    assert check(incomplete, is_whole=False) == 1
    assert check("python -m recipes.sentiment --epochs 2 --data-dir DIR        the same, in a checkout") == 1
    with pytest.raises(SystemExit):
        check("python -m recipes.sentiment --epochs two")


def test_the_pages_have_commands():
    assert sum(check(command) for page in PAGES for command in commands((ROOT / page).read_text("utf-8"))) > 80
