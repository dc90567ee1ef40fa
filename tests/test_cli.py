import dataclasses
import json
import pathlib
import re
from typing import Literal

import pytest

from keras_seq import cli
from keras_seq.cli import option


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains something.

    This is not shown.
    """

    units: int = option(256, "width, 100% of it")
    cell: Literal["lstm", "gru"] = option("lstm", "kind of cell")
    valid_source: str | None = option(None, "validation text")
    out: pathlib.Path = option(pathlib.Path("runs"), "folder")
    dropout: float | None = 0.1
    deterministic: bool = option(False, "same seed, same weights")
    joint: bool = True
    sizes: list[int] = option([1, 2], "sizes")
    names: tuple[str, ...] = ()
    level: int = option(1, "level", choices=(1, 2))


@dataclasses.dataclass
class Needed:
    source: str = option(help="text to read")


@dataclasses.dataclass(frozen=True)
class Compared:
    source: pathlib.Path = option(help="text to read", positional=True)
    target: str | None = option(None, "its translation", positional=True)
    rows: int = option(5, "lines")


@dataclasses.dataclass(frozen=True)
class Many:
    level: int = option(help="level", choices=(1, 2), positional=True)
    files: tuple[str, ...] = option(help="one or more", positional=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repeated:
    files: tuple[str, ...] = option((), "read", positional=True)
    model: tuple[pathlib.Path, ...] = option(help="one or more", repeated=True)
    weight: tuple[float, ...] = option((1.0, 2.0), "of each", repeated=True)


def refused(capsys, argv, options=Options):
    with pytest.raises(SystemExit) as stop:
        cli.parse(options, argv)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_no_flags_are_the_defaults():
    assert cli.parse(Options, []) == Options()


def test_every_kind_of_flag():
    line = "--units 3 --cell gru --valid-source a.en --out x/y --dropout none --deterministic --no-joint --sizes 5 6 7"
    parsed = cli.parse(Options, [*line.split(), "--names", "p", "q", "--level", "2"])
    assert parsed == Options(3, "gru", "a.en", pathlib.Path("x/y"), None, True, False, [5, 6, 7], ("p", "q"), 2)
    assert cli.parse(Options, ["--valid-source", "NONE", "--dropout", "0.5"]) == Options(dropout=0.5)


def test_a_repeated_flag_takes_one_value_each_time(capsys):
    both = pathlib.Path("a"), pathlib.Path("b")
    assert cli.parse(Repeated, ["--model", "a", "x", "--model", "b", "y"]) == Repeated(files=("x", "y"), model=both)
    weights = ["--weight", "3", "--model", "a", "--weight", "4"]
    assert cli.parse(Repeated, weights) == Repeated(model=both[:1], weight=(3.0, 4.0))
    assert cli.parse(Repeated, ["--model", "a"]).weight == (1.0, 2.0)
    assert "--model" in refused(capsys, [], Repeated)
    assert "invalid float value: 'c'" in refused(capsys, ["--model", "a", "--weight", "c"], Repeated)
    with pytest.raises(TypeError, match="`a`.* must be a tuple"):
        cli.flags(dataclasses.make_dataclass("Wrong", [("a", str, option(repeated=True))]))


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--units", "many"], "--units: invalid int value: 'many'"),
        (["--units", "9223372036854775808"], "--units: invalid int value: '9223372036854775808'"),
        (["--cell", "lstn"], "'lstn'"),
        (["--level", "3"], "3"),
        (["--dropout", "much"], "--dropout: invalid float value: 'much'"),
        (["--unit", "3"], "--unit"),
        (["--color", "red"], "--color"),
    ],
)
def test_bad_values_are_named(capsys, argv, told):
    error = refused(capsys, argv).splitlines()[-1]
    assert told in error and "error:" in error


def test_choices_are_told(capsys):
    assert "lstm" in (error := refused(capsys, ["--cell", "x"])) and "gru" in error


def test_a_field_without_default_is_required(capsys):
    assert "--source" in refused(capsys, [], Needed)
    assert cli.parse(Needed, ["--source", "a"]).source == "a"


def test_positional_options():
    assert cli.parse(Compared, ["a"]) == Compared(pathlib.Path("a"))
    both = Compared(pathlib.Path("a"), "b", 3)
    for line in ("a b --rows 3", "--rows 3 a b", "a --rows 3 b"):
        assert cli.parse(Compared, line.split()) == both
    assert cli.parse(Many, ["2", "a", "b"]) == Many(2, ("a", "b"))
    text = re.sub(r"\s+", " ", cli.flags(Compared, prog="compare this").format_help())
    assert "usage: compare this [-h] [--rows ROWS] SOURCE [TARGET]" in text and "SOURCE text to read" in text
    assert "FILES [FILES ...]" in cli.flags(Many).format_help()


@pytest.mark.parametrize(
    ("options", "line", "told"),
    [
        (Compared, "", "SOURCE"),
        (Compared, "a b c", "unrecognized arguments: c"),
        (Many, "1", "FILES"),
        (Many, "3 a", "3"),
        (Many, "one a", "invalid int value: 'one'"),
    ],
)
def test_bad_positional_options_are_named(capsys, options, line, told):
    assert told in refused(capsys, line.split(), options).splitlines()[-1]


def test_help_shows_text_choices_and_defaults():
    text = re.sub(r"\s+", " ", cli.flags(Options).format_help())
    for part in (
        "Trains something.",
        "width, 100% of it (default: 256)",
        "--cell {lstm,gru}",
        "(default: 1 2)",
        "--deterministic, --no-deterministic",
        "(default: False)",
    ):
        assert part in text
    assert "not shown" not in text and "None" not in text and text.count("(default: False)") == 1


def test_defaults_are_not_shared():
    first = cli.parse(Options, [])
    first.sizes.append(9)
    assert cli.parse(Options, []).sizes == [1, 2] and Options().sizes == [1, 2]


@pytest.mark.parametrize("error", [ValueError("no text"), OSError("no file"), OverflowError("too many"), MemoryError()])
def test_what_goes_wrong_is_one_line(capsys, error):
    def fail(options):
        raise error

    with pytest.raises(SystemExit) as stop:
        cli.run(fail, Compared, ["a"])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and re.fullmatch(r"error: \S.{6,}\n", told) and str(error) in told


def test_what_no_flag_can_be_is_refused():
    with pytest.raises(TypeError, match="dataclass"):
        cli.flags(int)
    with pytest.raises(TypeError, match="mapping"):
        cli.flags(dataclasses.make_dataclass("D", [("mapping", dict, dataclasses.field(default=None))]))


@dataclasses.dataclass(frozen=True)
class Inheriting(Options):
    """Trains more."""

    dropout: float | None = option(0.3, "another default")
    folds: int = option(10, "of its own")


def test_what_is_inherited_comes_last_in_the_help(capsys):
    assert cli.parse(Inheriting, []) == Inheriting()
    with pytest.raises(SystemExit):
        cli.parse(Inheriting, ["--help"])
    own, inherited = capsys.readouterr().out.split("\nTrains something:\n")
    own = own.split("options:\n")[1]
    assert "another default (default: 0.3)" in own and "--folds" in own and "--units" not in own
    assert "--units" in inherited and "--dropout" not in inherited


@dataclasses.dataclass(frozen=True)
class Configured(Options):
    """Trains from a file."""

    config: pathlib.Path | None = option(None, "file of options", config=True)
    filters: tuple[int, ...] | None = option(None, "channels", presets={"": (1, 2), "files": (3, 4)})
    parts: tuple[str, ...] = option(("a",), "parts", choices=("a", "b"))
    normalization: Literal["batch", "none"] | None = option(None, "normalization", presets={"": "batch"})


VALUES = {"units": 3, "cell": "gru", "valid_source": None, "out": "x/y", "dropout": 1, "joint": False, "level": 2}
VALUES |= {"sizes": [5], "names": ["p"], "filters": [8], "parts": ["b"], "normalization": "none"}


def parse_file(path, content, *argv):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return cli.parse(Configured, ["--config", str(path), *argv])


def test_a_file_gives_the_options_and_flags_override(tmp_path):
    path = tmp_path / "config.json"
    parsed = parse_file(path, VALUES)
    expected = {**VALUES, "out": pathlib.Path("x/y"), "sizes": [5], "names": ("p",), "filters": (8,), "parts": ("b",)}
    assert parsed == Configured(**expected, config=path) and isinstance(parsed.dropout, float)
    assert parse_file(path, VALUES, "--units", "4").units == 4
    assert cli.parse(Configured, ["--cell", "lstm", "--config", str(tmp_path)]).cell == "lstm"  # its folder will do
    assert parse_file(path, {"units": 3}) == Configured(units=3, config=path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"color": 1, "units": 2}, "no option has the name 'color'"),
        ({"config": "x"}, "no option has the name 'config'"),
        ({"units": "3"}, '--units cannot be "3"'),
        ({"units": True}, "--units cannot be true"),
        ({"units": None}, "--units cannot be null"),
        ({"joint": 1}, "--joint cannot be 1"),
        ({"cell": "rnn"}, '--cell cannot be "rnn"'),
        ({"names": "p"}, '--names cannot be "p"'),
        ({"parts": ["c"]}, "--parts cannot be"),
        ({"sizes": [1, 2.5]}, "--sizes cannot be [1, 2.5]"),
        ("[1]", "must hold a JSON object"),
        ("{", "is damaged"),
    ],
)
def test_a_file_that_is_wrong_is_one_line_that_names_it(tmp_path, capsys, content, told):
    path = tmp_path / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda options: None, Configured, ["--config", str(path)])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith(f"error: {path}") and told in error and error.count("\n") == 1


def test_a_file_that_is_missing_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.run(lambda options: None, Configured, ["--config", str(tmp_path / "none.json")])
    assert "none.json does not exist. Give the config.json of a run folder." in capsys.readouterr().err


def test_help_shows_the_defaults_of_presets():
    text = re.sub(r"\s+", " ", cli.flags(Configured).format_help())
    assert "channels (default: 1 2; files: 3 4)" in text and "normalization (default: batch)" in text
    assert cli.parse(Configured, ["--normalization", "none", "--filters", "none"]) == Configured(normalization="none")


def test_the_usage_of_many_options_shows_only_what_must_be_given():
    fields = [(f"option_{number}", int, option(number, "number")) for number in range(9)]
    fields = [("source", str, option(help="text", positional=True)), ("model", str, option(help="model")), *fields]
    many = dataclasses.make_dataclass("Many", fields)
    assert cli.flags(many, prog="verb").format_usage() == "usage: verb [options] --model MODEL SOURCE\n"
    assert "--option-8 OPTION_8" in cli.flags(many, prog="verb").format_help()
