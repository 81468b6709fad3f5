"""Dates in many notations and their ISO form: translation that needs no download."""

import hashlib
from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np

from dlresearch.data.parallel_text import SentencePairs, given_vocabularies, pair_vocabularies
from dlresearch.data.splits import SPLITS
from dlresearch.data.vocabulary import Vocabulary
from dlresearch.errors import UserError, suggest

# Not those of `calendar`, which are of the user's language.
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# No two of them write different dates alike: with dots the day is first, with slashes the month.
_FORMATS = (
    "{day} {month} {year}",
    "{day} {mon} {year}",
    "{month} {day}, {year}",
    "{mon} {day}, {year}",
    "{nth} of {month} {year}",
    "the {nth} of {month}, {year}",
    "{month} {nth}, {year}",
    "{weekday}, {day} {month} {year}",
    "{weekday}, {month} {day}, {year}",
    "{week} {day} {mon} {year}",
    "{week}, {mon} {nth} {year}",
    "{day}-{mon}-{year}",
    "{day:02}.{number:02}.{year}",
    "{day}.{number}.{year}",
    "{number:02}/{day:02}/{year}",
    "{number}/{day}/{year}",
    "{year}/{number:02}/{day:02}",
    "{year}{number:02}{day:02}",
    "{year}, {mon} {day}",
)
NUM_FORMATS = len(_FORMATS)
_FIRST, _LAST = date(1900, 1, 1), date(2099, 12, 31)
_LONGEST = 32  # characters; "Wednesday, September 22, 1999" and an end have 30
_HELD_OUT = 0.1


class Dates(SentencePairs):
    """Dates of 1900 to 2099 as people write them, to translate to ISO 8601, by characters.

    `the 5th of May, 1987` becomes `1987-05-05`. Yields what `parallel_text` yields. No date of
    `test` is in `train` in any notation: a hash of the date says where it belongs.

    Args:
      split: `train`, `test` (a tenth of the dates), or `all`.
      count: how many different dates, each in one notation.
      seed: of the choice of dates and notations.
      vocabularies: those of the training set, in evaluation.

    Raises:
      UserError: an unknown split, or more dates than there are.
    """

    def __init__(
        self,
        split: str = "train",
        count: int = 5000,
        seed: int = 0,
        vocabularies: Mapping[str, Vocabulary] | None = None,
    ):
        if seed < 0:
            raise UserError(f"seed={seed} is negative; use 0 or more")
        dates = _dates(split)
        if not 1 <= count <= len(dates):
            raise UserError(f"count is {count}; {split} has 1 to {len(dates)} dates")
        rng = np.random.default_rng((SPLITS.index(split), seed))
        chosen = [dates[i] for i in rng.permutation(len(dates))[:count]]
        written = [
            write_date(each, int(form), int(case))
            for each, form, case in zip(
                chosen,
                rng.integers(NUM_FORMATS, size=count),
                rng.integers(4, size=count),
                strict=True,
            )
        ]
        iso = [each.isoformat() for each in chosen]
        names = (f"dates {split}", f"dates {split} (ISO)")
        if vocabularies is None:
            vocabularies = pair_vocabularies(
                "characters", (written, iso), names, shared=False, options={"special": True}
            )
        super().__init__(
            written, iso, names, given_vocabularies(vocabularies, "characters"), _LONGEST
        )


def write_date(day: date, form: int, case: int) -> str:
    """A date in one of the notations; `case` 0 is lower, 1 upper, anything else as it is."""
    written = _FORMATS[form].format(
        day=day.day,
        nth=f"{day.day}{_ordinal(day.day)}",
        number=day.month,
        month=_MONTHS[day.month - 1],
        mon=_MONTHS[day.month - 1][:3],
        year=day.year,
        weekday=_DAYS[day.weekday()],
        week=_DAYS[day.weekday()][:3],
    )
    return {0: written.lower(), 1: written.upper()}.get(case, written)


def _ordinal(day: int) -> str:
    return "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")


def _dates(split: str) -> list[date]:
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}; {suggest(split, SPLITS)}")
    days = (_FIRST + timedelta(n) for n in range((_LAST - _FIRST).days + 1))
    if split == "all":
        return list(days)
    return [day for day in days if _is_held_out(day) == (split == "test")]


def _is_held_out(day: date) -> bool:
    digest = hashlib.sha256(day.isoformat().encode()).digest()
    return int.from_bytes(digest[:4], "big") < _HELD_OUT * 2**32
