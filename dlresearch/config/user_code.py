"""Errors in code the user wrote, reported as one line with file and line number."""

import os
import re
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlresearch.errors import UserError

_NOT_THE_USERS = (
    "<",  # <frozen importlib._bootstrap>, <string>
    f"{Path(__file__).parents[1]}{os.sep}",
    *(f"{sysconfig.get_path(each)}{os.sep}" for each in ("stdlib", "purelib", "platlib")),
)


@contextmanager
def user_code(what: str) -> Iterator[None]:
    """Turns what the user's code raises into a UserError: `what`, file:line and the message.

    A UserError passes through. Code we did not write may raise anything, so this is the one place
    that catches every Exception; the cause is kept for a debugger.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {_location(error)}{_one_line(error)}") from error


def _location(error: Exception) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: "
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_NOT_THE_USERS):
            return f"{frame.filename}:{frame.lineno}: "
    return ""


def _one_line(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return (
        _missing_key(error) or f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    )


def _missing_key(error: Exception) -> str | None:
    """What a ConfigDict says about a misspelt key, without the whole config that it appends."""
    cause = error.args[0] if error.args and isinstance(error.args[0], KeyError) else error
    if not isinstance(cause, KeyError) or not cause.args:
        return None
    text = str(cause.args[0])
    key = re.match(r"""Key "(?P<set>.+?)" does not exist|'(?P<get>[^'\n]+)'(\n|$)""", text)
    if key is None:
        return None
    hint = re.search(r'Did you mean "(.+?)"', text)
    return f"the config has no key {key['set'] or key['get']!r}" + (
        f"; did you mean {hint[1]!r}?" if hint else ""
    )
