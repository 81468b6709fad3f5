"""Typed arguments of an experiment file: `--config=file.py:wide,epochs=50`."""

from types import SimpleNamespace
from typing import Any

from dlresearch.config.place import Place
from dlresearch.config.text import read, split, unquoted
from dlresearch.config.values import coerce
from dlresearch.errors import UserError, suggest


class Choice(tuple[str, ...]):
    """The texts an argument may be; the first is the default."""

    def __new__(cls, *options: str):
        return super().__new__(cls, options)


def arguments(text: str, /, **defaults: Any) -> SimpleNamespace:
    """The arguments in `text`, typed like their defaults.

    `arguments("wide,epochs=50", variant=Choice("plain", "wide"), epochs=30, data_dir="")` has
    variant "wide", epochs 50 and data_dir "". A default of None takes text. A bare word chooses
    the option it is, or sets the boolean of that name. Quotes hold commas. UserError for an
    unknown argument or option, or a value that is not of the type.
    """
    values = {
        name: default[0] if isinstance(default, Choice) else default
        for name, default in defaults.items()
    }
    seen = set()
    for item in split(text, "config arguments"):
        name, value = _assignment(item, defaults)
        if name in seen:
            raise UserError(f"config argument {name!r} is given twice in {text!r}")
        seen.add(name)
        values[name] = _typed(value, name, defaults[name])
    return SimpleNamespace(**values)


def _assignment(item: str, defaults: dict[str, Any]) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if equals and name.strip() in defaults:
        return name.strip(), value.strip()
    words = {}
    for each, default in defaults.items():
        if isinstance(default, Choice):
            words |= {option: (each, option) for option in default}
        elif isinstance(default, bool):
            words[each] = (each, "true")
    if equals:
        raise UserError(f"there is no config argument {name.strip()!r}; {suggest(name, defaults)}")
    if item in words:
        return words[item]
    if item in defaults:
        raise UserError(f"config argument {item!r} needs a value: {item}=...")
    raise UserError(f"there is no config argument {item!r}; {suggest(item, {*words, *defaults})}")


def _typed(text: str, name: str, default: Any) -> Any:
    if isinstance(default, Choice):
        if unquoted(text) in default:
            return unquoted(text)
        raise UserError(f"config argument {name}: no option {text!r}; {suggest(text, default)}")
    type_: Any = type(default)
    if default is None:
        type_ = str | None
    elif isinstance(default, tuple):
        type_ = tuple[type(default[0]), ...] if default else tuple
    place = Place(f"config argument {name}", type_)
    return coerce(read(text, place), place)
