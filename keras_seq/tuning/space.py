"""The search space: parameters by name, with their values, their defaults and the conditions under which they exist.

space = tuning.Space()
space.choice("architecture", ["gru", "transformer"])
space.choice("units", [64, 128, 256], default=128)
space.choice("num_heads", [2, 4], when={"architecture": "transformer"})
space.float("learning_rate", 1e-4, 1e-2, log=True)
print(space)
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import keras_tuner

from keras_seq import cli

Value = bool | int | float | str


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of a search space, made by the methods of `Space`."""

    name: str
    kind: Literal["choice", "int", "float", "fixed"]
    values: tuple[Value, ...] = ()  # of a choice; the one of a fixed parameter
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    default: Value | None = None
    when: Mapping[str, tuple[Value, ...]] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        if self.kind in ("choice", "fixed"):
            return ", ".join(map(str, self.values))
        details = ", logarithmic" * self.log + (f", in steps of {self.step:g}" if self.step else "")
        return f"{self.low:g} to {self.high:g}{details}"

    def allows(self, value: Any) -> bool:
        """Whether the parameter can have this value."""
        if self.kind in ("choice", "fixed"):
            return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in self.values)
        number = isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high
        return number and (self.kind == "float" or isinstance(value, int))


class Space:
    """A search space. Its methods add parameters, or replace those of the same name, and return the space.

    Its text, `print(space)`, is a table. `Space.read` and `write` have it as JSON.
    """

    def __init__(self, parameters: Iterable[Parameter] = ()):
        self._parameters: dict[str, Parameter] = {}
        for parameter in parameters:
            self._add(parameter)

    def choice(
        self,
        name: str,
        values: Sequence[Value],
        *,
        default: Value | None = None,
        when: Mapping[str, Value | Sequence[Value]] | None = None,
    ) -> Space:
        """Adds a choice of one of several values.

        Args:
            name: name of the parameter.
            values: values, all numbers, all strings or all booleans.
            default: value of the first trial. By default, the first one.
            when: values of other parameters, `{"architecture": ["gru", "lstm"]}`, with which this one exists.
        Raises:
            ValueError: for no values, values of different types, or a default that is not among them.
        """
        values = tuple(values)
        if not values or len(set(values)) < len(values):
            raise ValueError(f"`{name}` needs different values. Received: {list(values)}")
        kinds = {bool if isinstance(v, bool) else str if isinstance(v, str) else float for v in values}
        if len(kinds) > 1 or any(not isinstance(value, bool | int | float | str) for value in values):
            raise ValueError(f"The values of `{name}` must be all numbers, all strings or all booleans: {list(values)}")
        if float in kinds and not all(isinstance(value, int) for value in values):
            values = tuple(map(float, values))
        return self._add(Parameter(name, "choice", values, default=default, when=_conditions(when)))

    def boolean(self, name: str, *, default: bool | None = None, when: Mapping[str, Any] | None = None) -> Space:
        """Adds a choice of False and True."""
        return self.choice(name, (False, True), default=default, when=when)

    def int(
        self,
        name: str,
        low: int,
        high: int,
        *,
        step: int | None = None,
        log: bool = False,
        default: int | None = None,
        when: Mapping[str, Any] | None = None,
    ) -> Space:
        """Adds a whole number from `low` to `high`, both included.

        Args:
            name: name of the parameter.
            low, high: least and greatest value.
            step: distance of two values or, with `log`, their ratio.
            log: whether small and large values are equally likely on a logarithmic scale.
            default: value of the first trial. By default, the value in the middle of the scale.
            when: see `choice`.
        Raises:
            ValueError: if `low` is not below `high`, or not positive with `log`.
        """
        return self._add(_number(name, "int", low, high, step, log, default, when))

    def float(
        self,
        name: str,
        low: float,
        high: float,
        *,
        step: float | None = None,
        log: bool = False,
        default: float | None = None,
        when: Mapping[str, Any] | None = None,
    ) -> Space:
        """Adds a number from `low` to `high`. The arguments are those of `int`."""
        return self._add(_number(name, "float", low, high, step, log, default, when))

    def fixed(self, name: str, value: Value, *, when: Mapping[str, Any] | None = None) -> Space:
        """Adds a parameter that has the same value in all trials."""
        return self._add(Parameter(name, "fixed", (value,), default=value, when=_conditions(when)))

    def remove(self, name: str) -> Space:
        """Removes a parameter, and the conditions of others on it."""
        if name not in self._parameters:
            raise ValueError(f"The space has no parameter `{name}`. It has: {', '.join(self._parameters) or 'none'}")
        del self._parameters[name]
        for other in list(self):
            when = {parent: values for parent, values in other.when.items() if parent != name}
            self._parameters[other.name] = dataclasses.replace(other, when=when)
        return self

    def _add(self, parameter: Parameter) -> Space:
        if parameter.default is not None and not parameter.allows(parameter.default):
            raise ValueError(
                f"The default of `{parameter.name}` must be one of its values: {parameter}. "
                f"Received: {parameter.default!r}"
            )
        for parent, values in parameter.when.items():
            if parent not in self._parameters:
                raise ValueError(f"`{parameter.name}` depends on `{parent}`, which the space does not have yet.")
            wrong = [value for value in values if not self._parameters[parent].allows(value)]
            if wrong:
                raise ValueError(f"`{parameter.name}` depends on `{parent}` = {wrong[0]!r}, which it cannot be.")
        self._parameters[parameter.name] = parameter
        return self

    def __iter__(self):
        return iter(self._parameters.values())

    def __len__(self) -> int:
        return len(self._parameters)

    def __contains__(self, name: str) -> bool:
        return name in self._parameters

    def __getitem__(self, name: str) -> Parameter:
        return self._parameters[name]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and list(self) == list(other)

    __hash__ = None

    def __str__(self) -> str:
        rows = [("parameter", "values", "default", "when")]
        for parameter in self:
            when = "; ".join(f"{name} = {' or '.join(map(str, values))}" for name, values in parameter.when.items())
            default = "" if parameter.default is None else f"{parameter.default}"
            rows.append((parameter.name, str(parameter), default, when))
        return "\n".join(cli.table(rows, numbers=False))

    def with_defaults(self, values: Mapping[str, Any]) -> Space:
        """A copy whose defaults are these values, for parameters that have no default and can have the value."""
        copies = []
        for parameter in self:
            value = values.get(parameter.name)
            if parameter.default is None and value is not None and parameter.allows(value):
                parameter = dataclasses.replace(parameter, default=value)
            copies.append(parameter)
        return Space(copies)

    def defaults(self) -> dict[str, Value]:
        """The values of the first trial, of the parameters that exist in it."""
        hyperparameters = self.hyperparameters()
        return {
            hp.name: hyperparameters.values[hp.name] for hp in hyperparameters.space if hyperparameters.is_active(hp)
        }

    def hyperparameters(self) -> keras_tuner.HyperParameters:
        """The space as KerasTuner has it."""
        result = keras_tuner.HyperParameters()
        for parameter in self:
            _declare(result, parameter)
        return result

    def write(self, path: str | os.PathLike) -> None:
        """Writes the space as JSON: `{"units": {"choice": [64, 128], "default": 128}, ...}`."""
        pathlib.Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    def to_json(self) -> dict[str, dict[str, Any]]:
        """The space as JSON values, which `from_json` takes."""
        entries = {}
        for parameter in self:
            values = list(parameter.values) if parameter.kind == "choice" else [parameter.low, parameter.high]
            entry = {parameter.kind: parameter.values[0] if parameter.kind == "fixed" else values}
            if parameter.step:
                entry["step"] = parameter.step
            if parameter.log:
                entry["log"] = True
            if parameter.kind != "fixed" and parameter.default is not None:
                entry["default"] = parameter.default
            if parameter.when:
                entry["when"] = {name: list(values) for name, values in parameter.when.items()}
            entries[parameter.name] = entry
        return entries

    @classmethod
    def from_json(cls, entries: Mapping[str, Any]) -> Space:
        """The space of `to_json`.

        Raises:
            ValueError: if an entry is not a parameter. The error names it.
        """
        space = cls()
        for name, entry in entries.items():
            kinds = [kind for kind in ("choice", "int", "float", "fixed") if isinstance(entry, dict) and kind in entry]
            unknown = set(entry) - {*kinds, "step", "log", "default", "when"} if isinstance(entry, dict) else set()
            if len(kinds) != 1 or unknown:
                raise ValueError(
                    f"`{name}` must have one of choice, int, float or fixed, and may have step, log, default and when. "
                    f"Received: {json.dumps(entry)}"
                )
            (kind,) = kinds
            options = {key: value for key, value in entry.items() if key != kind}
            arguments = [entry[kind]] if kind in ("choice", "fixed") else entry[kind]
            try:
                getattr(space, kind)(name, *arguments, **options)
            except TypeError as error:
                raise ValueError(f"`{name}`: {error}. Received: {json.dumps(entry)}") from error
        return space

    @classmethod
    def read(cls, path: str | os.PathLike) -> Space:
        """Reads the JSON of `write`.

        Raises:
            ValueError: if the file has no space. The error names the file and the parameter.
        """
        try:
            entries = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
            if not isinstance(entries, dict):
                raise ValueError(f"it must hold an object, but begins with {json.dumps(entries)[:40]}")
            return cls.from_json(entries)
        except ValueError as error:
            raise ValueError(f"{path} has no search space: {error}") from error


def _number(name, kind, low, high, step, log, default, when) -> Parameter:
    whole = int if kind == "int" else float
    numbers = [value for value in (low, high, step) if value is not None]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in numbers):
        raise ValueError(f"`{name}` needs numbers. Received: {low!r}, {high!r}, step {step!r}")
    if not low < high or not all(map(math.isfinite, (low, high))) or (log and low <= 0):
        raise ValueError(
            f"`{name}` needs a lower bound{' above 0' if log else ''} and a greater upper bound. "
            f"Received: {low}, {high}"
        )
    if step is not None and (step <= 0 or (log and step <= 1)):
        raise ValueError(f"The step of `{name}` must be above {1 if log else 0}. Received: {step}")
    low, high = whole(low), whole(high)
    return Parameter(name, kind, (), low, high, step, log, default, _conditions(when))


def _conditions(when: Mapping[str, Any] | None) -> dict[str, tuple[Value, ...]]:
    return {
        name: tuple(values) if isinstance(values, list | tuple | set) else (values,)
        for name, values in (when or {}).items()
    }


def _declare(hyperparameters: keras_tuner.HyperParameters, parameter: Parameter) -> None:
    with contextlib.ExitStack() as scopes:
        for name, values in parameter.when.items():
            scopes.enter_context(hyperparameters.conditional_scope(name, list(values)))
        if parameter.kind == "fixed":
            hyperparameters.Fixed(parameter.name, parameter.values[0])
        elif parameter.kind == "choice" and isinstance(parameter.values[0], bool):
            values = parameter.values
            if len(values) == 1:
                hyperparameters.Fixed(parameter.name, values[0])
            else:
                hyperparameters.Boolean(parameter.name, default=bool(parameter.default))
        elif parameter.kind == "choice":
            hyperparameters.Choice(parameter.name, list(parameter.values), default=parameter.default)
        else:
            _declare_number(hyperparameters, parameter)


def _declare_number(hyperparameters: keras_tuner.HyperParameters, parameter: Parameter) -> None:
    default = parameter.default
    sampling = "log" if parameter.log else "linear"
    declare = hyperparameters.Int if parameter.kind == "int" else hyperparameters.Float
    if default is None:
        low, high = parameter.low, parameter.high
        middle = math.sqrt(low * high) if parameter.log else (low + high) / 2
        default = round(middle) if parameter.kind == "int" else middle
        if parameter.step and parameter.log:
            default = low * parameter.step ** round(math.log(middle / low, parameter.step))
        elif parameter.step:
            default = low + parameter.step * round((middle - low) / parameter.step)
        default = type(low)(default)
    declare(parameter.name, parameter.low, parameter.high, step=parameter.step, sampling=sampling, default=default)
