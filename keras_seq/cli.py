"""A dataclass as a command line: each field is a flag, with its default and its help text.

@dataclasses.dataclass(frozen=True)
class Options:
    units: int = option(256, "width of the recurrent layers")
    cell: Literal["lstm", "gru"] = option("lstm", "kind of cell")
    valid_source: str | None = option(None, "validation text")
    deterministic: bool = option(False, "same seed, same weights")
    files: tuple[str, ...] = option(help="training text", positional=True)

options = parse(Options)        # --units 512 --cell gru --valid-source a.en --deterministic a.de b.de
"""

import argparse
import dataclasses
import difflib
import inspect
import os
import pathlib
import re
import sys
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from keras_seq.cli_config import read_values, without_none
from keras_seq.quiet import start_quickly

T = TypeVar("T")
_USAGE_OPTIONS = 8  # options that a usage line still shows one by one


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    choices: Sequence | None = None,
    positional: bool = False,
    repeated: bool = False,
    presets: Mapping[str, Any] | None = None,
    config: bool = False,
) -> Any:
    """A dataclass field with a help text, and choices where the annotation is not a `Literal`.

    Without a default the flag is required. A default list or dict is copied for each instance. A positional option has
    no flag and is identified by its place. A list or tuple takes one or more values. A repeated option, a tuple, takes
    one value per flag, and the flag may be given several times. Positional options may therefore follow it.

    Args:
        presets: defaults by the name of a preset, for a field that is None unless its flag is given. The help shows
            them. The key "" is the default of all presets that are not named.
        config: whether the field is a file with values of the other fields, `--config config.json`. Flags beside it
            override its values.
    """
    metadata = {"help": help, "choices": choices, "positional": positional, "repeated": repeated}
    metadata |= {"presets": presets, "config": config}
    if isinstance(default, list | dict | set):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def parse(
    options: type[T], argv: Sequence[str] | None = None, description: str | None = None, prog: str | None = None
) -> T:
    """An instance of the dataclass, from `argv` (by default the command line). A bad value ends the program with one
    line that names the flag and the value, as in argparse.

    Raises:
        ValueError, OSError: if a file of values, `option(config=True)`, cannot be used.
    """
    parser = flags(options, description, prog)
    parsed = parser.parse_intermixed_args(argv)
    files = [getattr(parsed, field.name) for field in dataclasses.fields(options) if field.metadata.get("config")]
    for file in filter(None, files):
        parser.set_defaults(**read_values(options, file))
        parsed = parser.parse_intermixed_args(argv)
    return options(**vars(parsed))


def run(
    function: Callable[[T], Any], options: type[T], argv: Sequence[str] | None = None, prog: str | None = None
) -> None:
    """Runs a program: parses its options, calls it, and turns errors of its input into one line and exit code 2.

    With the environment variable KERAS_SEQ_TRACEBACK set, the traceback is shown in full. A program that has
    not imported Keras yet loads it without optional packages, see `quiet.start_quickly`.

    Args:
        function: function that is called with the options.
        options: the dataclass.
        argv: arguments, by default the command line.
        prog: name of the program in help and errors, by default that of the running file.
    """
    try:
        parsed = parse(options, argv, prog=prog)
    except (ValueError, OSError) as error:
        _refuse(error, options)
    start_quickly()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(as_flags(str(message), options), file=sys.stderr)
            function(parsed)
    except KeyboardInterrupt:
        folder = getattr(parsed, "run", None)
        goes_on = "" if folder is None else f" The same command resumes from the last checkpoint in {folder}."
        print(f"\nStopped.{goes_on}", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, ImportError, OverflowError, MemoryError) as error:
        if os.environ.get("KERAS_SEQ_TRACEBACK"):
            raise
        _refuse(error, options)


def _refuse(error: Exception, options: type) -> NoReturn:
    message = str(error)
    if isinstance(error, OverflowError | MemoryError):  # neither has a remedy, and one is often empty
        message = (
            f"a number, or the memory that it needs, is too large: {message or 'no memory is left'}. "
            "Give smaller numbers."
        )
    print(f"error: {as_flags(message, options)}", file=sys.stderr)
    sys.exit(2)


def as_flags(message: str, options: type) -> str:
    """A message of the library, in which names of arguments, `num_beams`, are replaced by their flags: --num-beams."""
    names = {field.name for field in dataclasses.fields(options)}
    return re.sub(r"`(\w+)`", lambda found: flag(found[1]) if found[1] in names else found[0], message)


def table(rows: Sequence[Sequence[str]], numbers: bool = True) -> list[str]:
    """Aligned lines: the first column left-aligned, the others right-aligned, or left-aligned if not `numbers`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        aligned = [f"{cell:{'>' if numbers else '<'}{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([f"{name:<{widths[0]}}", *aligned]).rstrip())
    return lines


def in_one_line(text: str) -> str:
    """The text with each line end replaced by a space."""
    return text.replace("\r\n", " ").replace("\n", " ").replace("\r", " ")


def flag(name: str) -> str:
    """The flag of a field: `num_beams` is --num-beams, `import_` is --import."""
    return f"--{name.rstrip('_').replace('_', '-')}"


def flags(options: type, description: str | None = None, prog: str | None = None) -> argparse.ArgumentParser:
    """The parser for a dataclass. `description` defaults to the first paragraph of its docstring.

    A field `num_layers: int = 2` becomes `--num-layers NUM_LAYERS`. Types: `str`, `int`, `float`, `pathlib.Path`, each
    also `| None` (the value `none` gives None), `bool` (`--x` and `--no-x`), `Literal[...]` of strings or numbers, and
    `list[...]` or `tuple[..., ...]` of these (several values after one flag or, with `option(repeated=True)`, one
    value for each occurrence of the flag). `field(metadata={"help": ..., "choices": ...})` or `option` describes it.
    With `option(positional=True)` it has no flag.

    Inherited fields come last in the help, under the first line of their class's docstring.

    Raises:
        TypeError: if `options` is not a dataclass, or a field has a type that no flag can have.
    """
    if not (dataclasses.is_dataclass(options) and isinstance(options, type)):
        raise TypeError(f"`flags` takes a dataclass. Received: {options!r}")
    if description is None:
        description = _docstring(options).strip().split("\n\n")[0] or None
    # An abbreviated flag would change its meaning when another flag is added.
    parser = _Parser(prog=prog, description=description, allow_abbrev=False)
    hints, fields = typing.get_type_hints(options), {f.name: f for f in dataclasses.fields(options) if f.init}
    for owner in options.__mro__:
        names = [name for name in inspect.get_annotations(owner) if name in fields]
        if names:
            title = (_docstring(owner) or owner.__name__).split("\n")[0].rstrip(".")
            group = parser if owner is options else parser.add_argument_group(title)
            for name in names:
                _add_flag(group, fields.pop(name), hints[name])
    parser.shorten_usage()
    return parser


class _Parser(argparse.ArgumentParser):
    """Errors are one line, without the usage."""

    def shorten_usage(self) -> None:
        """With many options, the usage shows only the required ones and the positional arguments."""
        required = [action for action in self._actions if action.required or not action.option_strings]
        if len(self._actions) - len(required) > _USAGE_OPTIONS:
            formatter = self._get_formatter()
            formatter.add_usage(None, required, [], prefix="")
            arguments = " ".join(formatter.format_help().split()).removeprefix(self.prog)
            self.usage = f"%(prog)s [options]{arguments}"

    def error(self, message: str) -> typing.NoReturn:
        words = message.removeprefix("unrecognized arguments: ").split() if message.startswith("unrecognized") else ()
        self.exit(2, f"error: {message}.{self._remedy(words)} {self.prog} --help lists the options.\n")

    def _remedy(self, words: Sequence[str]) -> str:
        """The flag most similar to an unknown one, or the flag for the output."""
        for word in words:
            if close := difflib.get_close_matches(word.partition("=")[0], self._option_string_actions, 1):
                return f" Did you mean {close[0]}?"
        return " Name the output by --output." if words and "--output" in self._option_string_actions else ""


def _docstring(options: type) -> str:
    """The docstring of a class, empty if it is the signature that `dataclass` has written."""
    doc = options.__doc__ or ""
    return "" if doc.startswith(f"{options.__name__}(") else doc


def _add_flag(parser: argparse._ActionsContainer, field: dataclasses.Field, annotation: Any) -> None:
    help_text = field.metadata.get("help", "").replace("%", "%%")
    positional = field.metadata.get("positional", False)
    name = field.name if positional else flag(field.name)
    arguments: dict[str, Any] = {"metavar": field.name.upper()} if positional else {"dest": field.name}
    if field.default is not dataclasses.MISSING:
        arguments["default"] = field.default
    elif field.default_factory is not dataclasses.MISSING:
        arguments["default"] = field.default_factory()
    elif not positional:  # argparse requires a positional one anyway
        arguments["required"] = True
    presets = field.metadata.get("presets") or {"": arguments.get("default")}
    arguments["help"] = f"{help_text}{_shown_defaults(presets)}".strip()

    annotation, optional = without_none(annotation)
    if annotation is bool and not optional and not positional:
        parser.add_argument(name, action=argparse.BooleanOptionalAction, **arguments)
        return
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if field.metadata.get("repeated", False):
        if origin is not tuple or inner[1:] != (...,):
            raise TypeError(f"The field `{field.name}` is repeated and must be a tuple[..., ...]. It is: {annotation}")
        annotation, arguments["action"] = inner[0], _AppendToTuple
        arguments["metavar"] = field.name.rstrip("_").upper()
    elif origin is list or (origin is tuple and inner[1:] == (...,)):
        annotation, arguments["nargs"] = inner[0], "+" if positional and "default" not in arguments else "*"
        if origin is tuple:
            arguments["action"] = _StoreTuple
    elif positional and "default" in arguments:
        arguments["nargs"] = "?"
    arguments["type"], choices = _converter(annotation, optional, field.name)
    choices = field.metadata.get("choices") or choices
    if choices:
        arguments["choices"] = list(choices)
        arguments["metavar"] = "{" + ",".join(map(str, choices)) + "}"
        if optional:
            arguments["choices"].append(None)
    parser.add_argument(name, **arguments)


def _shown_defaults(presets: Mapping[str, Any]) -> str:
    """ " (default: 1; files: 2)", or nothing if there is no default to show."""
    shown = [f"{name.replace('_', ' ')}: {_shown(value)}" for name, value in presets.items() if name]
    if presets.get("") not in (None, "", (), []):
        shown = [_shown(presets[""]), *shown]
    return f" (default: {'; '.join(shown)})".replace("%", "%%") if shown else ""


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _converter(annotation: Any, optional: bool, name: str):
    choices = None
    if typing.get_origin(annotation) is typing.Literal:
        choices = typing.get_args(annotation)
        annotation = type(choices[0])
    if annotation not in (str, int, float, pathlib.Path):
        raise TypeError(f"The field `{name}` has a type that no flag can have: {annotation}")

    def convert(text: str) -> Any:
        if optional and text.lower() == "none" and "none" not in (choices or ()):
            return None
        value = annotation(text)
        if annotation is int and not -(2**63) <= value < 2**63:
            raise ValueError(value)  # no array can hold it
        return value

    convert.__name__ = annotation.__name__  # for the message of argparse, "invalid int value: ..."
    return convert, choices


class _StoreTuple(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        setattr(namespace, self.dest, None if values == [None] else tuple(values))  # `none` for an optional one


class _AppendToTuple(argparse.Action):
    def __call__(self, parser, namespace, value, option_string=None):
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, (*(() if before is self.default else before), value))
