"""Places in a config: a path, the type expected there, and what may stand below it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from dlresearch.config.catalog import target_of
from dlresearch.config.fields import Component, Section, options_of
from dlresearch.config.signatures import accepts_anything, parameters_of, settable
from dlresearch.errors import UserError, suggest


@dataclass(frozen=True)
class Place:
    """`path` is for messages, `annotation` is the type, `kind` the catalogue of components here."""

    path: str
    annotation: Any = Any
    kind: str | None = None

    @property
    def members(self) -> tuple[Any, ...]:
        """The alternatives of a union without None, or the type itself."""
        if get_origin(self.annotation) in (Union, UnionType):
            return tuple(each for each in get_args(self.annotation) if each is not NoneType)
        return (self.annotation,)

    @property
    def optional(self) -> bool:
        is_union = get_origin(self.annotation) in (Union, UnionType)
        return is_union and NoneType in get_args(self.annotation)

    @property
    def section(self) -> type[Section] | None:
        (first, *_) = self.members or (None,)
        return first if isinstance(first, type) and issubclass(first, Section) else None

    @property
    def is_component(self) -> bool:
        """Whether `name` here chooses from a catalogue."""
        section = self.section
        return Component in self.members or bool(section and section.component_kind)

    def of(self, annotation: Any) -> "Place":
        """The same place with another type, such as one member of a union."""
        return Place(self.path, annotation, self.kind)

    def child(self, key: str, node: Any) -> "Place":
        """The place `key` below this one; `node` is what stands here now.

        Raises UserError, naming the closest valid one, where no such key can be.
        """
        path = f"{self.path}.{key}"
        no_parts = f"{path}: {self.path} is {node!r} and has no parts; set it as a whole"
        if (self.section or Component in self.members) and not isinstance(node, Mapping):
            raise UserError(no_parts)
        if section := self.section:
            options = options_of(section)
            if key in options:
                return Place(path, options[key].type, options[key].kind)
            if section.component_kind is None:
                raise UserError(f"{path}: there is no such setting; {suggest(key, options)}")
            return self._argument(key, node)
        if Component in self.members:
            if key == "name":
                return Place(path, str)
            return self._argument(key, node)
        if isinstance(node, Sequence) and not isinstance(node, str):
            return self._element(key, node)
        (type_, *_) = self.members or (Any,)
        if isinstance(node, Mapping) or _is_mapping(type_):
            types = get_args(type_) if _is_mapping(type_) else ()
            return Place(path, types[1] if types else Any, self.kind)
        raise UserError(no_parts)

    def target(self, node: Mapping[str, Any]) -> Callable[..., Any] | None:
        """What the component `node` here names; UserError where it names nothing that exists.

        None where only the component's owner knows which catalogue a built-in name is from.
        """
        section = self.section
        kind = section.component_kind if section else self.kind
        default = options_of(section)["name"].default if section else None
        name = node.get("name", default)
        if not isinstance(name, str):
            raise UserError(f"{self.path}.name: expected the name of a component, got {name!r}")
        if kind is None and ":" not in name:
            return None
        return target_of(Component(name), kind or "", self.path)

    def _argument(self, key: str, node: Mapping[str, Any]) -> "Place":
        path, section, target = f"{self.path}.{key}", self.section, self.target(node)
        if target is None:
            return Place(path)
        parameters = settable(target, section.component_kind if section else self.kind)
        if key in parameters:
            return Place(path, parameters[key].annotation)
        if key in parameters_of(target):
            raise UserError(f"{path}: the trainer provides {key!r}; it cannot be set here")
        if accepts_anything(parameters):
            return Place(path)
        options = options_of(section) if section else {}
        name = node.get("name") or options["name"].default
        hint = suggest(key, {*parameters, *options})
        raise UserError(f"{path}: {name} has no argument {key!r}; {hint}")

    def _element(self, key: str, node: Sequence[Any]) -> "Place":
        if not key.isdecimal() or int(key) >= len(node):
            has = f"has {len(node)} elements, counted from 0" if node else "is empty"
            raise UserError(f"{self.path}.{key}: {self.path} {has}")
        return self.elements(len(node))[int(key)]

    def elements(self, length: int) -> list["Place"]:
        """The places of the elements of a sequence of this length."""
        types: Sequence[Any] = [Any] * length
        for member in self.members:
            origin, arguments = get_origin(member) or member, get_args(member)
            if not isinstance(origin, type) or not issubclass(origin, Sequence) or not arguments:
                continue
            if origin is not tuple or arguments[-1] is Ellipsis:
                types = [arguments[0]] * length
            elif len(arguments) == length:
                types = arguments
        return [Place(f"{self.path}.{i}", each, self.kind) for i, each in enumerate(types)]


def _is_mapping(type_: Any) -> bool:
    origin = get_origin(type_) or type_
    return isinstance(origin, type) and issubclass(origin, Mapping)
