"""From a component of the config to a model, as tasks ask for one."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from dlresearch.config import Component, Experiment, bind
from dlresearch.errors import UserError, located
from dlresearch.models import KeepProducts, Model, functional


@dataclass(frozen=True)
class MakeModel:
    """What a task is given to make its models with (`tasks.MakeModel`)."""

    experiment: Experiment

    def __call__(
        self, component: Component | None = None, path: str = "config.model", **context: Any
    ) -> Model:
        component = self.experiment.model if component is None else component
        remat = self.experiment.remat
        if remat == "blocks":
            context["remat"] = True
        dtype = jnp.dtype(self.experiment.precision)
        constructor, arguments = bind(component, "model", path, dtype=dtype, **context)
        if remat == "blocks" and "remat" not in arguments:
            raise UserError(
                f"config.remat: {path}.name={component.name} has no parameter 'remat', which"
                " 'blocks' needs; use 'dots'"
            )
        with located(path):
            model = functional(constructor, **arguments)
        return _LocatedModel(KeepProducts(model) if remat == "dots" else model, path)


@dataclass(frozen=True)
class _LocatedModel:
    """A model whose messages name its place in the config."""

    model: Model
    path: str

    def init(self, key: Key[Array, ""], *inputs: Array) -> tuple[Any, Any]:
        with located(self.path):
            return self.model.init(key, *inputs)

    def apply(
        self,
        params: Any,
        state: Any,
        *inputs: Any,
        train: bool,
        key: Key[Array, ""] | None = None,
        method: str = "__call__",
    ) -> tuple[Any, Any]:
        with located(self.path):
            return self.model.apply(params, state, *inputs, train=train, key=key, method=method)
