"""Values checked against the type their place expects, and made that type where it is safe."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from dlresearch.config.durations import Duration
from dlresearch.config.fields import Component, Section, options_of
from dlresearch.config.place import Place
from dlresearch.config.plain import plain
from dlresearch.errors import UserError, suggest


def coerce(value: Any, place: Place) -> Any:
    """The value as the place's type: int to float, `1e3` to 1000, list to tuple, dict to section.

    Types this module does not know pass as they are. Raises UserError naming the full path.
    """
    if len(place.members) != 1 or place.optional:
        return _member(value, place)
    type_ = place.annotation
    origin = get_origin(type_) or type_
    if origin is Literal:
        return _one_of(value, get_args(type_), place.path)
    if section := place.section:
        return coerce_section(value, section, place)
    if origin is Component:
        return _component(value, place)
    if origin in _SCALARS:
        return _SCALARS[origin](value, place.path)
    if isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str:
        return _sequence(value, origin, place)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(plain(value), Mapping):
            raise _expected("a mapping", value, place.path)
        return {key: coerce(each, place.child(key, value)) for key, each in value.items()}
    return value if isinstance(value, Component | Duration) else plain(value)


def coerce_section(value: Any, section: type[Section], place: Place) -> Section:
    """A section made of a mapping, with the schema's defaults for what it leaves out."""
    content = plain(value)
    if not isinstance(content, Mapping):
        wanted = "component('name', ...)" if section.component_kind else "a mapping of settings"
        raise _expected(wanted, value, place.path)
    options = options_of(section)
    found, arguments = {}, {}
    for key, each in content.items():
        inner = coerce(each, place.child(key, content))
        if key in options:
            found[key] = _allowed(inner, options[key], f"{place.path}.{key}")
        else:
            arguments[key] = inner
    if section.component_kind is None:
        return section(**found)
    place.target(content)  # Finds an unknown name even where there are no arguments.
    return section(**found, arguments=arguments)  # pyright: ignore[reportCallIssue]


def _allowed(value: Any, option: Any, path: str) -> Any:
    if option.choices:
        _one_of(value, option.choices, path)
    # Written so that nan is refused as well.
    if option.at_least is not None and value is not None and not value >= option.at_least:
        raise UserError(f"{path}: must be at least {option.at_least}, got {value}")
    if isinstance(value, Duration) and value.amount == 0:
        raise UserError(f"{path}: must be more than 0, got '{value}'")
    return value


def _member(value: Any, place: Place) -> Any:
    """A value for a union: None, a value of one member as it is, or the first that takes it."""
    if value is None and place.optional:
        return None
    for member in place.members:
        if isinstance(member, type) and type(value) is member:
            return value
    errors = []
    for member in place.members:
        try:
            return coerce(value, place.of(member))
        except UserError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    wanted = " or ".join(getattr(each, "__name__", str(each)) for each in place.members)
    raise _expected(wanted, value, place.path)


def _component(value: Any, place: Place) -> Component:
    content = plain(value)
    if not isinstance(content, Mapping) or "name" not in content:
        raise _expected("a component such as component('name', argument=1)", value, place.path)
    place.target(content)
    arguments = {
        key: coerce(each, place.child(key, content))
        for key, each in content.items()
        if key != "name"
    }
    return Component(content["name"], **arguments)


def _sequence(value: Any, origin: type, place: Place) -> Any:
    if isinstance(value, str) or not isinstance(value, Sequence):
        what = "components, such as (component('name'),)" if place.kind else "values"
        raise _expected(f"a tuple of {what}", value, place.path)
    types = get_args(place.annotation)
    if origin is tuple and types and Ellipsis not in types and len(types) != len(value):
        raise _expected(f"{len(types)} values", value, place.path)
    made = [coerce(*each) for each in zip(value, place.elements(len(value)), strict=True)]
    return made if origin is list else tuple(made)


def _one_of(value: Any, choices: Sequence[Any], path: str) -> Any:
    if any(value == each and type(value) is type(each) for each in choices):
        return value
    listed = ", ".join(map(str, choices))
    close = suggest(str(value), map(str, choices))
    hint = f"; {close}" if close.startswith("did") else ""
    raise UserError(f"{path}: must be one of {listed}, got {plain(value)!r}{hint}")


def _expected(what: str, value: Any, path: str) -> UserError:
    return UserError(f"{path}: expected {what}, got {plain(value)!r}")


def _bool(value: Any, path: str) -> bool:
    words = {"true": True, "false": False, "1": True, "0": False}
    if str(value).lower() not in words:
        raise _expected("true or false", value, path)
    return words[str(value).lower()]


def _int(value: Any, path: str) -> int:
    number = _number(value)
    if isinstance(number, int):
        return number
    if number is not None and number.is_integer():
        return int(number)
    raise _expected("a whole number", value, path)


def _float(value: Any, path: str) -> float:
    number = _number(value)
    if number is None:
        raise _expected("a number", value, path)
    return float(number)


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral | Real):
        return int(value) if isinstance(value, Integral) else float(value)
    for type_ in (int, float) if isinstance(value, str) else ():
        try:
            return type_(value)
        except ValueError:
            continue
    return None


def _str(value: Any, path: str) -> str:
    if isinstance(value, str):
        return str(value)
    raise _expected("text", value, path)


def _none(value: Any, path: str) -> None:
    if value is not None:
        raise _expected("None", value, path)


def _duration(value: Any, path: str) -> Duration:
    try:
        return Duration.parse(value)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


_SCALARS: dict[Any, Callable[[Any, str], Any]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    NoneType: _none,
    Duration: _duration,
}
