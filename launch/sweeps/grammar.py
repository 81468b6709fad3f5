"""The language of --sweep.

    optimizer.learning_rate=1e-3,3e-4; seed=range(3)        every combination
    model.widths=(16, 32),(32, 64) & batch_size=64,128      side by side; `&` binds closer than `;`
    :epochs=5,10                                            an argument of the experiment file
    optimizer.learning_rate=loguniform(1e-4, 1e-1)          something to draw from, for --search

Commas, semicolons and ampersands inside brackets and quotes belong to a value; quotes around a
whole value are taken off, and nothing in them means anything here.
"""

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dlresearch.errors import UserError
from launch.sweeps.part import Part
from launch.sweeps.values import Choice, Draw, read_value

MOST_POINTS = 100_000
Overrides = tuple[tuple[str, str], ...]
"""Pairs (key, text): what one run changes. A key that begins with `:` is an argument of the
experiment file, any other the path of a setting."""

_KEY = re.compile(r"(?:--)?(?:config\.)?(?P<key>:[A-Za-z_]\w*|[A-Za-z_][\w-]*(?:\.[\w-]+)*)")


@dataclass(frozen=True)
class _Axis:
    """A setting, and the texts it takes in turn or what it is drawn from."""

    key: str
    values: tuple[str, ...] | Draw | Choice
    place: Part

    def texts(self) -> tuple[str, ...]:
        if isinstance(self.values, tuple):
            return self.values
        raise self.place.error(
            "values are drawn only with --search=random, halton or bayesian; a grid needs a list,"
            " log(low, high, n) or linear(low, high, n)"
        )


def grid(texts: Sequence[str]) -> list[Overrides]:
    """The points of all texts, those of the first one first; the last setting changes fastest.

    Raises:
      UserError: a text that is not of the language, or that draws; too many points.
    """
    points = []
    for text in texts:
        factors = [_zipped(factor) for factor in _factors(text)]
        count = math.prod(map(len, factors))
        if len(points) + count > MOST_POINTS:
            raise UserError(f"--sweep: {count:,} runs; {MOST_POINTS:,} is the most")
        points += [tuple(itertools.chain(*each)) for each in itertools.product(*factors)]
    return points


def space(texts: Sequence[str]) -> dict[str, Draw | Choice]:
    """What each setting is drawn from; a list is a choice among its values.

    Raises:
      UserError: a text that is not of the language, several texts, settings side by side.
    """
    if len(texts) != 1:
        raise UserError(f"--search draws from one --sweep, not {len(texts)}; join them with ';'")
    found = {}
    for factor in _factors(texts[0]):
        if len(factor) > 1:
            raise factor[1].place.error("a search draws each setting alone; use ';' for '&'")
        [axis] = factor
        values = axis.values
        found[axis.key] = Choice(values) if isinstance(values, tuple) else values
    return found


def key_of(text: str) -> str | None:
    """How a key is written inside: without `config.` in front; None where it cannot be one."""
    match = _KEY.fullmatch(text.strip())
    return match["key"] if match else None


def _factors(text: str) -> list[list[_Axis]]:
    """What is to be combined; each is one setting, or some side by side."""
    all_of_it = Part(text, 0, len(text)).inside(0, len(text))
    factors = [[_axis(part) for part in factor.split("&")] for factor in all_of_it.split(";")]
    seen = set()
    for axis in itertools.chain(*factors):
        if axis.key in seen:
            raise axis.place.error(f"{axis.key} is swept twice")
        seen.add(axis.key)
    return factors


def _axis(part: Part) -> _Axis:
    if not str(part):
        raise part.error("a setting is missing here, such as seed=1,2,3")
    key, *rest = part.split("=")
    if not rest:
        raise part.error("'=' and values are missing: KEY=VALUE,VALUE")
    name = key_of(str(key))
    if name is None:
        raise key.error("this is no setting, such as optimizer.learning_rate, nor :argument")
    values = [read_value(value) for value in Part(part.whole, rest[0].start, part.end).split(",")]
    drawn = [value for value in values if not isinstance(value, tuple)]
    if drawn and len(values) > 1:
        raise part.error("a setting is either drawn or has a list of values")
    if drawn:
        return _Axis(name, drawn[0], part)
    texts = tuple(itertools.chain(*(value for value in values if isinstance(value, tuple))))
    [(text, times)] = Counter(texts).most_common(1)
    if times > 1:
        raise part.error(f"{text} stands there twice")
    return _Axis(name, texts, part)


def _zipped(factor: Sequence[_Axis]) -> list[Overrides]:
    first = factor[0]
    for axis in factor:
        if len(axis.texts()) != len(first.texts()):
            count = len(axis.texts())
            raise axis.place.error(f"{count} values beside the {len(first.texts())} of {first.key}")
    columns = [[(axis.key, text) for text in axis.texts()] for axis in factor]
    return list(zip(*columns, strict=True))
