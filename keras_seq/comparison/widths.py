"""Widths at which the backbones of different architectures have equally many parameters."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import NamedTuple

_NARROWEST = 16  # of the two models that are built to count


@dataclasses.dataclass(frozen=True)
class Count:
    """The number of parameters of a backbone as a function of its width.

    Each weight of a layer has one axis or two whose lengths are proportional to the width, or one and an input of fixed
    width. The number is therefore a u^2 + b u, and two models give a and b.

    Args:
        square, linear: a and b.
        step: valid widths are its multiples.
    """

    square: Fraction
    linear: Fraction
    step: int = 1

    def __call__(self, units: int) -> int:
        return int(self.square * units * units + self.linear * units)

    def width(self, target: float) -> int:
        """The valid width whose number of parameters is closest to the target."""
        low, high = self.step, 2 * self.step
        while self(high) < target:
            low, high = high, 2 * high
        while high - low > self.step:
            middle = (low + high) // 2 // self.step * self.step
            low, high = (middle, high) if self(middle) < target else (low, middle)
        return min((low, high), key=lambda units: abs(math.log(self(units) / target)))


def counted(parameters: Callable[[int], tuple[int, int]], step: int = 1) -> tuple[Count, Callable[[int], int]]:
    """The number of parameters and the input's width as functions of the width, from two models.

    Args:
        parameters: function from a width to the number of parameters of the backbone and the width of its input.
        step: valid widths are its multiples.
    Raises:
        ValueError: if the backbone has no parameters.
    """
    first = step * math.ceil(_NARROWEST / step)
    second = 2 * first
    (one, narrow), (two, wide) = parameters(first), parameters(second)
    if not two:
        raise ValueError("The architecture has no parameters whose number could be equal.")
    square = Fraction(two - 2 * one, 2 * first * first)
    slope = Fraction(wide - narrow, first)
    return Count(square, Fraction(one, first) - square * first, step), lambda units: int(
        narrow + slope * (units - first)
    )


class Widths(NamedTuple):
    """Widths with equally many parameters.

    Attributes:
        target: number of parameters.
        units: width of each architecture, by name.
    """

    target: int
    units: dict[str, int]


def equal_widths(counts: Mapping[str, Count], target: float, tolerance: float = 0.05, exactly: bool = False) -> Widths:
    """The widths at which all backbones have the same number of parameters, up to the tolerance.

    Args:
        counts: number of parameters as a function of the width, by architecture.
        target: number of parameters.
        tolerance: greatest relative difference from the target.
        exactly: whether to keep this target. Otherwise it may move by up to a quarter, to the nearest one for which all
            architectures have a width: a Transformer has few valid widths.
    Raises:
        ValueError: if an architecture has no width within the tolerance.
    """
    around = [target * 1.25 ** (shift / 100) for shift in range(-100, 101)]
    fitting = [each for each in around if _furthest(counts, each)[1] <= tolerance]
    chosen = min(fitting, key=lambda each: abs(math.log(each / target)), default=target)
    name, difference = _furthest(counts, target if exactly else chosen)
    if difference > tolerance:
        units = counts[name].width(target)
        others = f"`parameters` of {chosen:,.0f}, which all can have" if fitting else "more `parameters`"
        raise ValueError(
            f"No width of {name} has {target:,.0f} parameters in its backbone up to {tolerance:.0%}: {units} units "
            f"have {counts[name](units):,}, {difference:.0%} away. Take {others}, or a larger `tolerance`."
        )
    chosen = target if exactly else chosen
    return Widths(round(chosen), {name: count.width(chosen) for name, count in counts.items()})


def _furthest(counts: Mapping[str, Count], target: float) -> tuple[str, float]:
    """The architecture that is furthest from the target at its best width, and its relative difference."""
    differences = {name: abs(count(count.width(target)) / target - 1) for name, count in counts.items()}
    name = max(differences, key=differences.get)
    return name, differences[name]
