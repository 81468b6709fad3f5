"""What a user's mistake looks like: one line, exit status 2."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in what the user gave us; its message is one line that says what to change."""


@contextmanager
def located(path: str) -> Iterator[None]:
    """A `UserError` raised inside gets `path` in front, unless it names a place in the config
    already.

    For callers of code that knows what is wrong, but not from which setting it came.
    """
    try:
        yield
    except UserError as error:
        if str(error).startswith("config"):
            raise
        raise UserError(f"{path}: {error}") from error


def suggest(name: str, valid: Iterable[str]) -> str:
    """The end of an error message about an unknown `name`: the closest valid one, or all of
    them.
    """
    valid = sorted(valid)
    if close := get_close_matches(name, valid, n=1, cutoff=0.5):
        return f"did you mean {close[0]!r}?"
    return f"valid: {', '.join(valid)}" if valid else "none is valid here"
