"""From a component of the config to a model, as tasks ask for one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dlresearch.config import Component, Experiment, bind, build
from dlresearch.errors import UserError, located
from dlresearch.models import KeepProducts, Model, functional
from dlresearch.tasks import Task


@dataclass(frozen=True)
class MakeModel:
    """What a task is given to make its models with (`tasks.MakeModel`)."""

    experiment: Experiment

    def __call__(
        self, component: Component | None = None, path: str = "config.model", **context: Any
    ) -> Model:
        own = component is None
        component = self.experiment.model if component is None else component
        remat = self.experiment.remat
        if remat == "blocks":
            context["remat"] = True
        dtype = jnp.dtype(self.experiment.precision)
        constructor, arguments = bind(component, "model", path, dtype=dtype, **context)
        # The others are small, or have it.
        if own and remat == "blocks" and "remat" not in arguments:
            raise UserError(
                f"config.remat: {path}.name={component.name} has no parameter 'remat', which"
                " 'blocks' needs; use 'dots'"
            )
        with located(path):
            model = functional(constructor, **arguments)
        return _LocatedModel(KeepProducts(model) if remat == "dots" else model, path)


def make_task(experiment: Experiment, metadata: Mapping[str, Any]) -> Task:
    """The task of a run; `metadata` is that of its training source."""
    return build(
        experiment.task, "task", "config.task", make_model=MakeModel(experiment), metadata=metadata
    )


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

    def features(self, params: Any, state: Any, *inputs: Any) -> Float[Array, "batch features"]:
        with located(self.path):
            return self.model.features(params, state, *inputs)
