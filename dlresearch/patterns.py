"""Choosing parameters by regular expressions over their paths, such as `Conv_0/kernel`.

A pattern has to match the whole path.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TypeVar

import jax
from jaxtyping import PyTree

from dlresearch.errors import UserError

Value = TypeVar("Value")
SHOWN = 3
"""Existing paths that a message about a pattern without a match names."""


def match_mask(patterns: Sequence[str], params: PyTree, where: str) -> PyTree[bool]:
    """Of each parameter, whether any of `patterns` matches its path.

    Args:
      patterns: regular expressions.
      params: pytree of arrays or shapes.
      where: path in the config, for messages.

    Raises:
      UserError: a pattern is no regular expression, or matches no parameter at all.
    """
    return first_match([(pattern, True) for pattern in patterns], params, where, default=False)


def first_match(
    pairs: Sequence[tuple[str, Value]], params: PyTree, where: str, default: Value
) -> PyTree[Value]:
    """For each parameter the value of the first of `pairs` whose pattern matches its path.

    Arguments and errors are those of `match_mask`; `default` is for parameters without a match.
    """
    compiled = [(_compile(pattern, where), value) for pattern, value in pairs]
    paths = [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for expression, _ in compiled:
        if not any(map(expression.fullmatch, paths)):
            raise UserError(_no_match(expression.pattern, paths, where))

    def choose(path: tuple, _: object) -> Value:
        name = path_of(path)
        return next((value for each, value in compiled if each.fullmatch(name)), default)

    return jax.tree_util.tree_map_with_path(choose, params)


def path_of(path: tuple) -> str:
    """A key path of JAX as text: `block/Conv_0/kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _compile(pattern: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"{where}: {pattern!r} is no regular expression: {error}") from error


def _no_match(pattern: str, paths: Sequence[str], where: str) -> str:
    if not paths:
        return f"{where}: {pattern!r} matches nothing, there are no parameters"
    plain = re.sub(r"[^\w/]", "", pattern)  # without the signs of regular expressions
    closest = sorted(paths, key=lambda path: -SequenceMatcher(None, plain, path).ratio())[:SHOWN]
    return (
        f"{where}: {pattern!r} matches no whole parameter path; "
        f"closest of {len(paths)}: {', '.join(closest)}"
    )
