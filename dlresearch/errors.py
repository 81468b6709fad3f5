"""What a user's mistake looks like: one line, exit status 2."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in what the user gave us; its message is one line that says what to change."""


def suggest(name: str, valid: Iterable[str]) -> str:
    """The end of an error message about an unknown `name`: the closest valid one, or all of them."""
    valid = sorted(valid)
    if close := get_close_matches(name, valid, n=1, cutoff=0.5):
        return f"did you mean {close[0]!r}?"
    return f"valid: {', '.join(valid)}" if valid else "none is valid here"
