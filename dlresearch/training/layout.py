"""Where the arrays of a run lie on its mesh, before, in and after a step."""

from collections.abc import Sequence
from typing import Any, cast

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from dlresearch.config import Experiment
from dlresearch.parallel import (
    abstract_mesh,
    gather_weights,
    make_mesh,
    parameter_shardings,
    state_shardings,
)
from dlresearch.tasks import Variables


def mesh_of(experiment: Experiment, devices: int | Sequence[Any] | None) -> Mesh:
    """Return the mesh of `config.mesh`.

    Args:
      devices: how many to plan for, or those to compile for; they need not be here, and nothing can
        be computed on them. None takes the devices of this process.
    """
    sizes = (experiment.mesh.data, experiment.mesh.fsdp, experiment.mesh.tensor)
    if not isinstance(devices, int):
        return make_mesh(*sizes, devices=devices)
    return cast(Mesh, abstract_mesh(devices, *sizes))  # the same to all that only plans


class Layout:
    """How parameters, and all that has their shapes, are split.

    Args:
      variables: shapes.

    Raises:
      UserError: a rule that does not fit, or a parameter without one.
    """

    def __init__(self, experiment: Experiment, mesh: Mesh, variables: Variables):
        self._mesh, self._min_size = mesh, experiment.mesh.fsdp_min_size
        self._params = variables.params
        self._of_params = parameter_shardings(
            self._params, mesh, experiment.mesh.rules, self._min_size
        )
        self._of_variables: Variables = self._shardings(variables)

    def placed(self, state: PyTree) -> PyTree:
        """Shapes of the train state, or of a part of it, with their shardings."""
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            state,
            self._shardings(state),
        )

    def gather(self, variables: Variables) -> Variables:
        """With parameters and averages as networks read them."""
        return variables.replace(
            params=gather_weights(variables.params, self._of_variables.params),
            averages=gather_weights(variables.averages, self._of_variables.averages),
        )

    def as_parameters(self, player: str, gradients: PyTree) -> PyTree:
        """The gradients of a player, split as its parameters are."""
        return jax.lax.with_sharding_constraint(gradients, self._of_params[player])

    def _shardings(self, state: PyTree) -> Any:
        return state_shardings(state, self._params, self._of_params, self._mesh, self._min_size)
