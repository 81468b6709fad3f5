"""Spans of training: `20 epochs`, `5000 steps`, `1e6 examples`, `10%`, or a number of steps."""

import math
import re
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

from dlresearch.errors import UserError, suggest

Unit = Literal["steps", "epochs", "examples", "percent"]

_EXAMPLES = "write a number of steps, or such as '20 epochs', '5000 steps', '1e6 examples', '10%'"


@dataclass(frozen=True)
class Duration:
    amount: float
    unit: Unit

    @classmethod
    def parse(cls, value: "int | float | str | Duration") -> "Duration":
        """Reads what a user wrote; a number without a unit counts steps.

        Raises UserError for what is no duration, is negative or is not finite.
        """
        if isinstance(value, Duration):
            return value
        text = str(value).strip()
        words = re.fullmatch(r"([-+.\w]*\d\.?)\s*(%|[a-zA-Z]+)?", text)
        if isinstance(value, bool) or not isinstance(value, str | Real) or words is None:
            raise UserError(f"{value!r} is not a duration; {_EXAMPLES}")
        try:
            amount = float(words[1])
        except ValueError:
            raise UserError(f"{value!r} is not a duration; {_EXAMPLES}") from None
        if amount < 0 or not math.isfinite(amount):
            raise UserError(f"{value!r} is not a duration: it must be finite and not negative")
        return cls(amount, _unit(words[2] or "steps"))

    def steps(self, *, steps_per_epoch: float, batch_size: int, total_steps: int | None) -> int:
        """The number of optimizer steps, to the nearest.

        `steps_per_epoch` may be a fraction (examples / batch size). `total_steps` is the length of
        the run, which percentages need; UserError where it is None for one.
        """
        exact = self.exact_steps(
            steps_per_epoch=steps_per_epoch, batch_size=batch_size, total_steps=total_steps
        )
        return math.floor(exact + 0.5)

    def exact_steps(
        self, *, steps_per_epoch: float, batch_size: int, total_steps: int | None
    ) -> float:
        """As `steps`, not rounded: an epoch is 22.5 steps where it is."""
        match self.unit:
            case "steps":
                return self.amount
            case "epochs":
                return self.amount * steps_per_epoch
            case "examples":
                return self.amount / batch_size
            case "percent":
                if total_steps is None:
                    raise UserError(f"'{self}': a percentage of the run cannot be used here")
                return self.amount / 100 * total_steps

    def __str__(self) -> str:
        number = str(int(self.amount)) if float(self.amount).is_integer() else repr(self.amount)
        if self.unit == "percent":
            return f"{number}%"
        return f"{number} {self.unit.removesuffix('s') if number == '1' else self.unit}"


def _unit(word: str) -> Unit:
    units: tuple[Unit, ...] = get_args(Unit)
    for unit in units:
        if word.lower() in (unit, unit.removesuffix("s")) or (word == "%" and unit == "percent"):
            return unit
    raise UserError(f"durations have no unit {word!r}; {suggest(word, units)}")
