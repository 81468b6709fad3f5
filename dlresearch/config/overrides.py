"""Settings changed on the command line: `--config.optimizer.learning_rate=0.1`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from inspect import Parameter
from typing import Any

from dlresearch.config.fields import options_of
from dlresearch.config.place import Place
from dlresearch.config.plain import plain
from dlresearch.config.schema import Experiment
from dlresearch.config.signatures import parameters_of
from dlresearch.config.text import read
from dlresearch.errors import UserError

_FLAG = re.compile(r"--?config\.(?P<path>[^=\s]+)(?P<value>=.*)?", re.DOTALL)


def split_overrides(argv: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Takes `--config.a.b=value` and `--config.a.b value` out of a command line.

    Returns the pairs (path, text) and the rest, both in order. What follows `--` stays as it is.
    UserError for a path without a value.
    """
    overrides, rest = [], []
    waiting = list(argv)
    while waiting and waiting[0] != "--":
        word = waiting.pop(0)
        flag = _FLAG.fullmatch(word)
        if flag is None:
            rest.append(word)
        elif flag["value"]:
            overrides.append((flag["path"], flag["value"][1:]))
        elif waiting and not re.match(r"-[^\d.]", waiting[0]):
            overrides.append((flag["path"], waiting.pop(0)))
        else:
            raise UserError(f"{word} needs a value: {word}=...")
    return overrides, rest + waiting


def setting_called(name: str) -> str | None:
    """The path of the setting that someone who writes `--name` may mean, None where there is none.

    `optimizer.learning_rate` for `learning_rate`, and a path that leads into the config for itself.
    """
    if name.split(".")[0] in options_of(Experiment):
        return name
    found = (path for path in _paths(plain(Experiment())) if path.endswith(f".{name}"))
    return min(found, key=len, default=None)


def _paths(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _paths(value, f"{prefix}{key}.")


def apply(config: Mapping[str, Any], overrides: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
    """A plain config, complete with all defaults, with the overrides applied.

    Shorter paths and names go first, so that a component is there before its parts are set.
    Naming another component drops the arguments of the one before it, but not the settings that
    all components of its section share. UserError for a path or a value that cannot be.
    """
    paths = [(path.split("."), text) for path, text in overrides]
    for path, text in sorted(paths, key=lambda each: (len(each[0]), each[0][-1] != "name")):
        config = _set(config, Place("config", Experiment), path, text)
    return config


def _set(node: Any, place: Place, path: Sequence[str], text: str) -> Any:
    """What stands at `place` after the part of it at `path` has been set."""
    if not path:
        return _whole(node, place, text)
    key, *rest = path
    if node is None:
        raise UserError(f"{place.path}.{key}: {place.path} is None; set it as a whole first")
    inner = place.child(key, node)
    if isinstance(node, tuple):
        changed = list(node)
        changed[int(key)] = _set(node[int(key)], inner, rest, text)
        return tuple(changed)
    if place.is_component and key == "name" and not rest:
        return _renamed(node, place, read(text, inner))
    is_new = key not in node and inner.is_component and not place.is_component
    if is_new and rest and rest != ["name"]:
        # A misspelt name would make an entry full of defaults.
        among = f" among {', '.join(node)}" if node else ""
        raise UserError(
            f"{inner.path}: there is no {key!r}{among}; to add it, set {inner.path}.name, too"
        )
    before = node[key] if key in node else _default(node, place, inner, key)
    return {**node, key: _set(before, inner, rest, text)}


def _whole(node: Any, place: Place, text: str) -> Any:
    value = read(text, place)
    if not isinstance(value, Mapping) or not isinstance(node, Mapping):
        return value
    if place.is_component and "name" in value:
        return {**_renamed(node, place, value["name"]), **value}
    return {**node, **value} if place.section else value


def _renamed(node: Mapping[str, Any], place: Place, name: str) -> dict[str, Any]:
    kept = options_of(place.section) if place.section else {}
    if node.get("name") == name:
        return dict(node)
    return {key: each for key, each in node.items() if key in kept} | {"name": name}


def _default(node: Mapping[str, Any], place: Place, inner: Place, key: str) -> Any:
    """What stands at a key that is not there yet: a section's or a parameter's default."""
    if inner.section:
        return plain(inner.section())
    target = place.target(node) if place.is_component else None
    parameter = parameters_of(target).get(key) if target else None
    if parameter is None or parameter.default is Parameter.empty:
        return None
    return plain(parameter.default)
