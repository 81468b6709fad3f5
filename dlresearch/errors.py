"""What ends a run with one line instead of a traceback."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(Exception):
    """A mistake in what the user gave us; its message is one line that says what to change."""


class Refused(UserError):
    """Settings that are right one by one, and that an experiment does not take together, such as a
    network over its budget. A search draws others.
    """


class Failure(Exception):
    """What neither the user's settings nor this code is to blame for, such as a full disk; one line
    and exit status 1.
    """


def out_of_memory(error: Exception, estimate: str = "") -> Failure | None:
    """Return one line for an error of JAX that says that a device has no memory left; else None.

    Args:
      estimate: what is known of the memory that a step needs.
    """
    if "RESOURCE_EXHAUSTED" not in str(error) or type(error).__name__ != "JaxRuntimeError":
        return None
    return Failure(
        f"a device is out of memory: {one_line(error).partition('RESOURCE_EXHAUSTED: ')[2]}"
        f"{estimate and f'; {estimate}'}; less takes a smaller --config.batch_size,"
        " --config.accumulate=2 or more, --config.remat=dots, or --config.mesh.fsdp with several"
        " devices (`dlresearch check` estimates each)"
    )


def one_line(error: BaseException) -> str:
    """What an error says, on one line; with its type where it is none of ours."""
    lines = str(error).strip().splitlines()
    if isinstance(error, UserError | Failure):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


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
