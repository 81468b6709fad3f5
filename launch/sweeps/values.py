"""What may stand behind the `=` of a sweep: values, and functions that make or draw them."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from launch.sweeps.part import Part

MOST_VALUES = 100_000

_CALL = re.compile(r"(?P<name>[a-z]+)\((?P<inside>.*)\)", re.DOTALL)


@dataclass(frozen=True)
class Draw:
    """Numbers from `low` to `high`, both included; uniform, or uniform in the logarithm."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Choice:
    """One of some texts."""

    options: tuple[str, ...]


def size_of(space: Mapping[str, Draw | Choice]) -> float:
    """How many points there are to draw; infinite with a real number among the settings."""
    sizes = [
        len(each.options)
        if isinstance(each, Choice)
        else each.high - each.low + 1
        if each.whole
        else math.inf
        for each in space.values()
    ]
    return math.prod(sizes)


def read_value(part: Part) -> tuple[str, ...] | Draw | Choice:
    """The texts of one value between commas, several for a function; or what they are drawn from.

    Raises:
      UserError: nothing stands there, or a function has arguments it cannot have.
    """
    text = str(part)
    if not text:
        raise part.error("a value is missing here; '' is an empty text")
    if text[0] in "'\"" and text.find(text[0], 1) == len(text) - 1:
        return (text[1:-1],)
    call = _CALL.fullmatch(text)
    if call is None or call["name"] not in _FUNCTIONS:
        return (text,)
    inside = list(part.inside(call.start("inside"), call.end("inside")).split(","))
    if any(len([*each.split("=")]) > 1 for each in inside) or not str(inside[0]):
        return (text,)  # a component, such as linear(warmup='5%')
    function, usage = _FUNCTIONS[call["name"]]
    return function(part, inside, usage)


_Function = Callable[[Part, Sequence[Part], str], tuple[str, ...] | Draw | Choice]


def _number(part: Part) -> float:
    try:
        number = float(str(part))
    except ValueError:
        raise part.error("this must be a number") from None
    if not math.isfinite(number):
        raise part.error("this must be a finite number")
    return number


def _whole(part: Part) -> int:
    number = _number(part)
    if not number.is_integer():
        raise part.error("this must be a whole number")
    return int(number)


def _range(part: Part, inside: Sequence[Part], usage: str) -> tuple[str, ...]:
    if len(inside) > 3:
        raise part.error(f"it is {usage}")
    numbers = [_whole(each) for each in inside]
    if len(numbers) == 3 and numbers[2] == 0:
        raise inside[2].error("a step of 0 goes nowhere")
    values = range(*numbers)
    if not values:
        raise part.error("there is no number in this range")
    if values[MOST_VALUES:]:
        raise part.error(f"{MOST_VALUES:,} values are the most")
    return tuple(map(str, values))


def _spaced(part: Part, inside: Sequence[Part], usage: str, log: bool) -> tuple[str, ...]:
    if len(inside) != 3:
        raise part.error(f"it is {usage}")
    low, high, count = _number(inside[0]), _number(inside[1]), _whole(inside[2])
    if not 2 <= count <= MOST_VALUES:
        raise inside[2].error(f"how many: from 2 to {MOST_VALUES:,}")
    if log and min(low, high) <= 0:
        raise part.error("both ends must be above 0")
    if low == high:
        raise part.error("both ends are the same")
    shares = [i / (count - 1) for i in range(count)]
    if log:
        values = [math.exp((1 - s) * math.log(low) + s * math.log(high)) for s in shares]
    else:
        values = [(1 - s) * low + s * high for s in shares]
    texts = tuple(f"{value:.6g}" for value in values)
    if len(set(texts)) < count:
        raise part.error("the values are closer together than six digits can tell")
    return texts


def _log(part: Part, inside: Sequence[Part], usage: str) -> tuple[str, ...]:
    return _spaced(part, inside, usage, log=True)


def _linear(part: Part, inside: Sequence[Part], usage: str) -> tuple[str, ...]:
    return _spaced(part, inside, usage, log=False)


def _drawn(*, log: bool = False, whole: bool = False) -> _Function:
    def draw(part: Part, inside: Sequence[Part], usage: str) -> Draw:
        if len(inside) != 2:
            raise part.error(f"it is {usage}")
        low, high = map(_whole if whole else _number, inside)
        if low >= high:
            raise part.error("the first number must be below the second")
        if log and low <= 0:
            raise inside[0].error("this must be above 0")
        return Draw(low, high, log, whole)

    return draw


def _choice(part: Part, inside: Sequence[Part], usage: str) -> Choice:
    options = []
    for each in inside:
        value = read_value(each)
        if not isinstance(value, tuple):
            raise each.error("one cannot draw inside a choice")
        options += value
    if len(set(options)) < max(2, len(options)):
        raise part.error("a choice needs at least two options, all different")
    return Choice(tuple(options))


_FUNCTIONS: Mapping[str, tuple[_Function, str]] = {
    "range": (_range, "range(end), range(start, end) or range(start, end, step)"),
    "log": (_log, "log(low, high, how many)"),
    "linear": (_linear, "linear(low, high, how many)"),
    "uniform": (_drawn(), "uniform(low, high)"),
    "loguniform": (_drawn(log=True), "loguniform(low, high)"),
    "int": (_drawn(whole=True), "int(low, high), both included"),
    "logint": (_drawn(log=True, whole=True), "logint(low, high), both included"),
    "choice": (_choice, "choice(one, another, ...)"),
}
