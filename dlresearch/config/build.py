"""Turns a component into the object it describes."""

from collections.abc import Callable, Sequence
from inspect import Parameter
from typing import Any

from dlresearch.config.catalog import target_of
from dlresearch.config.fields import Component
from dlresearch.config.place import Place
from dlresearch.config.schema import Evaluator, Optimizer
from dlresearch.config.signatures import parameters_of
from dlresearch.config.values import coerce
from dlresearch.errors import UserError, located

# Without these an object of the user's cannot be what it is used as.
_MEMBERS = {
    "source": ("__len__", "__getitem__"),
    "task": ("players", "init", "predict"),
    "evaluator": ("run",),
}


def build(
    component: Component | Optimizer | Evaluator, kind: str, path: str, **context: Any
) -> Any:
    """Calls what the component names with its arguments and what it wants from `context`.

    Arguments and errors are those of `bind`; what the constructor raises passes on, a UserError
    with the path in front. UserError, too, for what cannot be of this kind.
    """
    target, arguments = bind(component, kind, path, **context)
    with located(path):
        made = target(**arguments)
    if lacking := [name for name in _MEMBERS.get(kind, ()) if not hasattr(made, name)]:
        raise UserError(f"{path}: {component.name} is no {kind}, it lacks {', '.join(lacking)}")
    return made


def build_all(
    components: Sequence[Component], kind: str, path: str, **context: Any
) -> tuple[Any, ...]:
    """Each of the components at `path`, as by `build`."""
    return tuple(
        build(component, kind, f"{path}.{index}", **context)
        for index, component in enumerate(components)
    )


def bind(
    component: Component | Optimizer | Evaluator, kind: str, path: str, **context: Any
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """What the component names, and the arguments to call it with.

    A parameter that the component leaves open is taken from `context` where a value of that name
    is there (`num_classes`, `dtype` ...). `path`, such as `config.model`, is for messages. The
    random streams of an NNX module, `rngs`, are left to whoever makes the call.

    Raises:
      UserError: unknown, wrongly typed and missing arguments.
    """
    target = target_of(component, kind, path)
    plain_component = Component(component.name, **component.arguments)
    arguments = coerce(plain_component, Place(path, Component, kind)).arguments
    parameters = parameters_of(target)
    wanted = {key: value for key, value in context.items() if key in parameters}
    given = {**wanted, **arguments}
    for name, parameter in parameters.items():
        required = (
            parameter.default is Parameter.empty and parameter.kind is not Parameter.VAR_KEYWORD
        )
        if required and name not in given and not (kind == "model" and name == "rngs"):
            raise UserError(f"{path}.{name}: {component.name} needs this argument; set it")
    return target, given
