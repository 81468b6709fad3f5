"""Rows that are drawn and not read: what a task makes up for each example of a batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

import jax
from jaxtyping import Array, Shaped

from dlresearch.parallel.mesh import AnyMesh, batch_sharding

P = ParamSpec("P")
R = TypeVar("R")

_MESH: ContextVar[AnyMesh | None] = ContextVar("mesh", default=None)


def split_rows(rows: Shaped[Array, "batch ..."]) -> Shaped[Array, "batch ..."]:
    """Inside the step or a prediction: the same array, split over the devices as a batch is.

    Without it, what depends on no example, such as the images of a generator, is computed whole on
    every device.
    """
    mesh = _MESH.get()
    if mesh is None:
        return rows
    return jax.lax.with_sharding_constraint(rows, batch_sharding(mesh))


def on_mesh(mesh: AnyMesh, function: Callable[P, R]) -> Callable[P, R]:
    """`function`, with `split_rows` in it splitting over this mesh."""

    @wraps(function)
    def traced(*args: P.args, **kwargs: P.kwargs) -> R:
        with _over(mesh):
            return function(*args, **kwargs)

    return traced


@contextmanager
def _over(mesh: AnyMesh) -> Iterator[None]:
    token = _MESH.set(mesh)
    try:
        yield
    finally:
        _MESH.reset(token)
