"""Turns a component into the object it describes."""

from collections.abc import Callable
from inspect import Parameter
from typing import Any

from dlresearch.config.catalog import target_of
from dlresearch.config.fields import Component
from dlresearch.config.place import Place
from dlresearch.config.schema import Evaluator, Optimizer
from dlresearch.config.signatures import parameters_of
from dlresearch.config.values import coerce
from dlresearch.errors import UserError


def build(
    component: Component | Optimizer | Evaluator, kind: str, path: str, **context: Any
) -> Any:
    """Calls what the component names with its arguments and what it wants from `context`.

    Arguments and errors are those of `bind`; what the constructor raises passes on, a UserError with
    the path in front.
    """
    target, arguments = bind(component, kind, path, **context)
    try:
        return target(**arguments)
    except UserError as error:
        if str(error).startswith("config"):
            raise
        raise UserError(f"{path}: {error}") from error


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
