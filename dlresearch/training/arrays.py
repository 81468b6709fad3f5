"""The arrays of a tree by their paths, and in words."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, PyTree

from dlresearch.errors import UserError
from dlresearch.patterns import path_of
from dlresearch.tasks import Variables


class Spec(NamedTuple):
    """Shape and dtype; as text `float32[3, 3, 16]`."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def spec_of(array: Any) -> Spec:
    """Of an array, or of a description of one."""
    return Spec(tuple(array.shape), str(array.dtype))


def leaves_by_path(tree: PyTree) -> dict[str, Any]:
    """`{"params/model/Conv_0/kernel": leaf, ...}`."""
    return {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `leaves_by_path` for a tree of dicts."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *folders, name = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = leaf
    return tree


def parameters_and_state(variables: Variables) -> dict[str, Any]:
    """What a network has, by paths that begin with the player: `model/Conv_0/kernel`,
    `model/batch_stats/BatchNorm_0/mean`.
    """
    return {**leaves_by_path(variables.params), **leaves_by_path(variables.state)}


def with_arrays(variables: Variables, arrays: Mapping[str, Array]) -> Variables:
    """`variables` with others in place of those that `arrays` has, paths as in
    `parameters_and_state`.
    """

    def replaced(tree: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: arrays.get(path_of(path), leaf), tree
        )

    return variables.replace(params=replaced(variables.params), state=replaced(variables.state))


def check_same_arrays(saved: Mapping[str, Spec], abstract_state: PyTree, where: str) -> None:
    """Raises UserError where the arrays of a checkpoint are not those that are wanted."""
    wanted = {path: spec_of(leaf) for path, leaf in leaves_by_path(abstract_state).items()}
    for path in _parameters_first({*saved, *wanted}):
        there, here = saved.get(path), wanted.get(path)
        if there != here:
            raise UserError(
                f"{where}: a checkpoint of another model: {path} is {there or 'nothing'} in it and"
                f" {here or 'nothing'} here"
            )


def _parameters_first(paths: Iterable[str]) -> list[str]:
    """Before the optimizer's copies of their shapes: they are what a user knows."""
    return sorted(paths, key=lambda path: ("/params/" not in path, path))
