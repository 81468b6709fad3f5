"""Values written as text on the command line: `1e3`, `(64, 64)`, `mlp(hidden=(64, 64))`, `None`."""

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_origin

from dlresearch.config.durations import Duration
from dlresearch.config.fields import Component
from dlresearch.config.place import Place
from dlresearch.config.values import coerce
from dlresearch.errors import UserError

_CLOSING = {"(": ")", "[": "]", "{": "}"}
_COMPONENT = re.compile(r"(?P<name>[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?)\s*(?P<call>\(.*\))?", re.S)


def read(text: str, place: Place) -> Any:
    """The value that `text` means where the place's type is expected; components become dicts.

    Text without a meaning for the type is returned as text, for `coerce` to refuse; UserError only
    for unbalanced brackets and quotes, and for unknown names in components.
    """
    text = text.strip()
    if place.optional and text.lower() == "none":
        return None
    type_, *others = place.members
    if others:
        return _first_that_fits(text, place)
    origin = get_origin(type_) or type_
    if origin in (int, float, bool):
        return coerce(text, place.of(type_))
    if origin in (str, Duration):
        return unquoted(text)
    if place.is_component or place.section:
        return _section_or_component(text, place)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        inside = _without(text, "([")
        items = split(text if inside is None else inside, place.path)
        return tuple(map(read, items, place.of(type_).elements(len(items))))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _pairs(text, ":", place)
    return _literal(text)


def split(text: str, path: str, separator: str = ",") -> list[str]:
    """The parts of a list, at separators that stand outside quotes and brackets.

    An empty part at the end, as in `64,`, is none. UserError where brackets or quotes do not match.
    """
    parts, open_, quote = [""], [], ""
    for character in text:
        if character == separator and not open_ and not quote:
            parts.append("")
            continue
        parts[-1] += character
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in _CLOSING:
            open_.append(_CLOSING[character])
        elif character in _CLOSING.values() and (not open_ or open_.pop() != character):
            raise UserError(f"{path}: unexpected {character!r} in {text!r}")
    if open_ or quote:
        raise UserError(f"{path}: {open_[-1] if open_ else quote!r} is missing in {text!r}")
    parts = [part.strip() for part in parts]
    return parts if parts[-1] else parts[:-1]


def unquoted(text: str) -> str:
    """The text inside quotes, or the text where it has none."""
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        return text
    return str(_literal(text))


def _first_that_fits(text: str, place: Place) -> Any:
    for member in sorted(place.members, key=_appetite):
        inner = place.of(member)
        try:
            value = read(text, inner)
            coerce(value, inner)
        except UserError:
            continue
        return value
    return _literal(text)


def _appetite(member: Any) -> int:
    """Order of the members of a union: any text is a str, and anything fits an unknown type."""
    origin = get_origin(member) or member
    if origin is str:
        return 1
    return 0 if origin in (bool, int, float, Duration, Component, tuple, list) else 2


def _section_or_component(text: str, place: Place) -> Any:
    if text.startswith("{"):
        return _pairs(text, ":", place)
    split(text, place.path)  # Refuses `mlp(width=3`, which would pass for a text.
    written = _COMPONENT.fullmatch(text)
    if written is None or not place.is_component:
        return _literal(text)
    content = {"name": written["name"]}
    arguments = _pairs(written["call"] or "()", "=", place, content)
    return {**content, **arguments} if isinstance(arguments, Mapping) else text


def _pairs(text: str, separator: str, place: Place, node: Mapping[str, Any] | None = None) -> Any:
    """`{key: value}` or `(key=value)` with each value read for its own place."""
    inside = _without(text, "({")
    if inside is None:
        return _literal(text)
    texts = {}
    for item in split(inside, place.path):
        key, *rest = split(item, place.path, separator)
        if not rest:
            raise UserError(f"{place.path}: write 'name{separator}value' instead of {item!r}")
        if "." in unquoted(key):
            raise UserError(f"{place.path}: {key} cannot be a key, it holds a dot")
        texts[unquoted(key)] = separator.join(rest)
    # The name decides which arguments there are.
    node = {"name": unquoted(texts["name"].strip())} if "name" in texts else node or {}
    return {key: read(each, place.child(key, node)) for key, each in texts.items()}


def _without(text: str, brackets: str) -> str | None:
    """What stands between the brackets around the whole text, None where there are none."""
    if text and text[0] in brackets and text[-1] == _CLOSING[text[0]]:
        depth, quote = 0, ""
        for i, character in enumerate(text):
            if quote or character in "'\"":
                quote = "" if character == quote else quote or character
                continue
            depth += (character in _CLOSING) - (character in _CLOSING.values())
            if depth == 0:
                return text[1:-1] if i == len(text) - 1 else None
    return None


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)
