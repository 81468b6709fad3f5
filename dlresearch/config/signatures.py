"""Which arguments a component takes, read from the signature of its class or function."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from inspect import Parameter
from typing import Any, get_type_hints

# What the trainer gives to components of a kind; a user sets these elsewhere or not at all.
PROVIDED = {
    "optimizer": {"learning_rate", "weight_decay", "decay_mask"},
    "schedule": {"total_steps", "to_steps"},
    "task": {"make_model", "metadata"},
    "model": {"rngs"},
    "source": {"vocabularies"},
    "evaluator": {
        "references",
        "vocabularies",
        "open_run",
        "examples_of",
        "reference",
        "reference_examples",
        "latent",
        "outputs_of",
        "make_views",
    },
}


def parameters_of(target: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters that can be given by name, with resolved annotations.

    A `**` parameter is among them and means that any name will do. Flax Linen's own fields
    `parent` and `name` are left out.
    """
    function = target
    if inspect.isclass(target) and target.__init__ is not object.__init__:
        # Not the class itself: the metaclass of NNX modules hides the constructor's signature.
        function = target.__init__
    hints = _annotations(target, function)
    found = {
        name: parameter.replace(annotation=hints.get(name, parameter.annotation))
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind not in (Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL)
    }
    if inspect.isclass(target):
        if function is not target:
            found.pop("self", None)
        if any(base.__module__ == "flax.linen.module" for base in target.__mro__):
            found.pop("parent", None)
            found.pop("name", None)
    return found


def settable(target: Callable[..., Any], kind: str | None) -> dict[str, Parameter]:
    """The parameters of `parameters_of` that a user may set: all that are not `PROVIDED`."""
    provided = PROVIDED.get(kind or "", set())
    return {name: each for name, each in parameters_of(target).items() if name not in provided}


def accepts_anything(parameters: Mapping[str, Parameter]) -> bool:
    return any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values())


def _annotations(target: Any, function: Any) -> dict[str, Any]:
    hints = {}
    # The fields of a dataclass may come from base classes in other modules, whose names only
    # get_type_hints on the class resolves; a constructor written by hand is known by itself.
    for owner in (target, function) if is_dataclass(target) else (function,):
        try:
            hints |= get_type_hints(owner)
        except (NameError, TypeError):
            # A name imported for type checkers only, or a callable object without annotations:
            # its values pass as they are.
            continue
    return hints
