"""The same experiment in other clothes: ConfigDict, plain dict, JSON."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from dlresearch.config.durations import Duration
from dlresearch.config.fields import Component, Section, options_of
from dlresearch.config.schema import Experiment


def component(name: str, /, **arguments: Any) -> ConfigDict:
    """A component as experiment files write it: `component("convnet", widths=(16, 32))`."""
    return ConfigDict(dict(name=name, **arguments), type_safe=False)


def default_config() -> ConfigDict:
    """The schema's defaults, to be filled in by an experiment file.

    A misspelt key raises at once; only components and mappings take new keys, which `validate`
    checks. Types are not enforced on assignment but by `validate`.
    """
    config = config_dict(plain(Experiment())).lock()
    _open(config, Experiment)
    return config


def _open(config: ConfigDict, section: type[Section]) -> None:
    for name, option in options_of(section).items():
        inner: Any = config[name]
        if isinstance(option.default, Section) and not option.default.component_kind:
            _open(inner, type(option.default))
        elif isinstance(inner, ConfigDict):
            inner.unlock()


def plain(value: Any) -> Any:
    """Sections, components and ConfigDicts as dicts, lists as tuples, durations as text."""
    match value:
        case Section():
            options = {name: getattr(value, name) for name in options_of(type(value))}
            return plain(options | dict(getattr(value, "arguments", {})))
        case Component():
            return {"name": value.name} | plain(value.arguments)
        case Duration():
            return str(value)
        case ConfigDict() | Mapping():
            return {key: plain(each) for key, each in value.items()}
        case list() | tuple():
            return tuple(plain(each) for each in value)
    return value


def config_dict(value: Any) -> Any:
    """The inverse of `plain` for dicts, also those in tuples."""
    if isinstance(value, dict):
        content = {key: config_dict(each) for key, each in value.items()}
        return ConfigDict(content, type_safe=False, sort_keys=False)
    if isinstance(value, tuple):
        return tuple(config_dict(each) for each in value)
    return value


def to_dict(config: Experiment | Mapping[str, Any] | ConfigDict) -> dict[str, Any]:
    """A dict that JSON can hold and `validate` reads back; classes become their import paths."""
    return _json(plain(config))


def config_hash(config: Experiment | Mapping[str, Any] | ConfigDict) -> str:
    """12 hex digits, the same in every process.

    Give it a validated Experiment (or its `to_dict`) and the way a value was spelt, `1e3` or
    `1000`, a default written out or left out, does not matter.
    """
    text = json.dumps(to_dict(config), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(a: Any, b: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """What two results of `to_dict` differ in: (dotted path, value in a, value in b).

    A key that one lacks counts as None there; lists of different lengths differ as a whole.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        keys = [*a, *(key for key in b if key not in a)]
        pairs = [(key, a.get(key), b.get(key)) for key in keys]
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = [(str(i), *both) for i, both in enumerate(zip(a, b, strict=True))]
    else:
        return [] if a == b else [(path, a, b)]
    inside = f"{path}." if path else ""
    return [each for key, x, y in pairs for each in differences(x, y, f"{inside}{key}")]


def _json(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case dict():
            return {str(key): _json(each) for key, each in value.items()}
        case tuple():
            return [_json(each) for each in value]
        case np.generic() | np.ndarray():
            return _json(plain(value.tolist()))
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}:{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))  # An address would change the hash.
