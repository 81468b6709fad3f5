"""The vocabulary of the schema: sections, their options, and components."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, NamedTuple, get_type_hints


@dataclass(frozen=True, init=False)
class Component:
    """A choice from a catalogue and the arguments of its constructor.

    `name` is a built-in such as `convnet` or an import path such as `mylab.models:TinyNet`.
    """

    name: str
    arguments: Mapping[str, Any]

    def __init__(self, name: str, /, **arguments: Any):
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "arguments", arguments)


class Section:
    """Base of the schema's frozen dataclasses; every field is made by `option`.

    With `component_kind`, the section is a component of that kind as well: its option `name` says
    which one, and keys that are no options end up in `arguments`.
    """

    component_kind: ClassVar[str | None] = None


def option(
    default: Any,
    doc: str,
    *,
    kind: str | None = None,
    choices: tuple[str, ...] | None = None,
    at_least: float | None = None,
) -> Any:
    """A field of a `Section`.

    `default` is the value, or the Section class of a nested section. `doc` is the sentence a user
    reads; `kind` is the catalogue of a Component; `choices` are the texts allowed; `at_least` is
    the smallest number allowed.
    """
    metadata = {"doc": doc, "kind": kind, "choices": choices, "at_least": at_least}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


class Option(NamedTuple):
    """What `option` recorded about one field, with the field's type and its default value."""

    type: Any
    default: Any
    doc: str
    kind: str | None
    choices: tuple[str, ...] | None
    at_least: float | None


@cache
def options_of(section: type[Section]) -> dict[str, Option]:
    """The options of a section by name, in the order of the schema."""
    hints = get_type_hints(section)
    return {
        each.name: Option(
            type=hints[each.name],
            default=each.default if each.default_factory is MISSING else each.default_factory(),
            **each.metadata,
        )
        for each in fields(section)  # pyright: ignore[reportArgumentType]
        if not (section.component_kind and each.name == "arguments")
    }
