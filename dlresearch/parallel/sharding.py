"""Over which devices each array of the state is split.

A parameter is split as the first matching one of the user's rules says, else by the built-in rules,
which know Flax's layers by the names and ranks of their parameters. What belongs to a parameter,
such as an optimizer's moments or an average, lies where the parameter lies.

Over `fsdp`, whose devices see different examples, this is stage 3 of ZeRO (Rajbhandari et al. 2020,
arXiv:1910.02054); over `tensor` it is Megatron-LM's split of single layers (Shoeybi et al. 2019,
arXiv:1909.08053). All functions are of shapes and work with a mesh that is not there, too.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from math import prod
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from dlresearch.errors import UserError, suggest
from dlresearch.parallel.mesh import AnyMesh
from dlresearch.patterns import first_match, match_mask, path_of

Rules: TypeAlias = Sequence[tuple[str, str]]
Shape: TypeAlias = tuple[int, ...]
Split: TypeAlias = tuple[tuple[str, ...], ...]
"""Of each axis of an array, the mesh axes it is split over."""

# With `fsdp` innermost, the parts that are gathered over it make one block of the tensor's part.
WORDS: Mapping[str, tuple[str, ...]] = {
    "-": (),
    "fsdp": ("fsdp",),
    "tensor": ("tensor",),
    "fsdp+tensor": ("tensor", "fsdp"),
}
REPLICATED = "replicated"
ATTENTION = ("query", "key", "value", "out")


def parameter_shardings(
    params: PyTree, mesh: AnyMesh, rules: Rules, min_size: int
) -> PyTree[NamedSharding]:
    """How each parameter is split.

    Args:
      params: arrays or shapes, by player.
      rules: pairs (path pattern, words); the first match counts. The words are one of `WORDS` for
        each axis, or `fsdp` (the largest axis that divides) or `replicated` alone.
      min_size: parameters with fewer elements, and without a rule, are whole on every device.

    Raises:
      UserError: a rule that does not fit its parameter or matches none, or a parameter that is
        large and that no rule can split.
    """
    for number, (pattern, _) in enumerate(rules):
        match_mask((pattern,), params, f"config.mesh.rules.{number}")
    matches = first_match(
        [(pattern, number) for number, (pattern, _) in enumerate(rules)],
        params,
        "config.mesh.rules",
        default=-1,
    )
    paths = {path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}

    def choose(path: tuple, leaf: Any, rule: int) -> NamedSharding:
        name, shape = path_of(path), tuple(leaf.shape)
        if rule >= 0:
            return _sharding(mesh, _by_rule(rule, rules[rule][1], name, shape, mesh))
        if not shape or prod(shape) < min_size:
            return _sharding(mesh, ())
        return _sharding(mesh, _built_in(name, shape, mesh, paths))

    return jax.tree_util.tree_map_with_path(choose, params, matches)


def state_shardings(
    state: PyTree, params: PyTree, shardings: PyTree[NamedSharding], mesh: AnyMesh, min_size: int
) -> PyTree[NamedSharding]:
    """How every array of the train state is split.

    An array of the shape of a parameter whose path ends like its own is split as the parameter; of
    several, the one with the longest common end counts. Any other array of at least `min_size`
    elements is split over `fsdp` along its largest axis that divides. The rest is whole.

    Args:
      params: the parameters or their shapes, by player.
      shardings: theirs.
    """
    known: dict[tuple[str, Shape], list[tuple[list[str], NamedSharding]]] = {}
    for (path, leaf), sharding in zip(
        jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(shardings), strict=True
    ):
        parts = path_of(path).split("/")
        known.setdefault((parts[-1], tuple(leaf.shape)), []).append((parts, sharding))

    def choose(path: tuple, leaf: Any) -> NamedSharding:
        parts, shape = path_of(path).split("/"), tuple(leaf.shape)
        if alike := known.get((parts[-1], shape)):
            return max(alike, key=lambda parameter: _likeness(parts, parameter[0]))[1]
        axis = None
        if prod(shape) >= min_size and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            axis = _largest(shape, mesh.shape["fsdp"], range(len(shape)))
        return _sharding(mesh, () if axis is None else _along(axis, len(shape), "fsdp"))

    return jax.tree_util.tree_map_with_path(choose, state)


def gather_weights(arrays: PyTree[Array], shardings: PyTree[NamedSharding]) -> PyTree[Array]:
    """Inside a jitted function: the arrays, which lie so, whole over `fsdp` and ready to use.

    Not only for speed. Left to itself XLA chooses by layer: some weights stay and activations
    travel, some are gathered twice. And where all three axes of the mesh are larger than 1, chains
    of matrix products on weights that are split over `fsdp` came out wrong, by more than half, with
    jax 0.10.2 and 0.12 on CPU (`tests/training/test_meshes.py` notices).
    """

    def one(array: Array, sharding: NamedSharding) -> Array:
        whole = _sharding(sharding.mesh, _split(sharding, len(array.shape), without="fsdp"))
        if whole == sharding:
            return array
        return jax.lax.with_sharding_constraint(array, whole)

    return jax.tree.map(one, arrays, shardings)


def in_words(sharding: NamedSharding, rank: int) -> str:
    """As a rule would say it, such as `- tensor`; `whole` where nothing is split."""
    if sharding.is_fully_replicated:
        return "whole"
    words = {axes: word for word, axes in WORDS.items()}
    return " ".join(words[axes] for axes in _split(sharding, rank))


def bytes_per_device(tree: PyTree) -> int:
    """What one device holds of arrays, or shapes, that have shardings."""
    return sum(
        prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(tree)
    )


# --- the user's rules ---------------------------------------------------------------------------


def _by_rule(number: int, text: str, name: str, shape: Shape, mesh: AnyMesh) -> Split:
    where = f"config.mesh.rules.{number}: {text!r} for {_described(name, shape)}"
    words = text.split()
    if words == [REPLICATED]:
        return ()
    if words == ["fsdp"]:
        axis = _largest(shape, mesh.shape["fsdp"], range(len(shape)))
        if axis is None:
            raise UserError(f"{where}: no axis divides by fsdp={mesh.shape['fsdp']}")
        return _along(axis, len(shape), "fsdp")
    for word in words:
        if word not in WORDS:
            ways = suggest(word, [*WORDS, REPLICATED])
            raise UserError(f"{where}: {word!r} is no way to split an axis; {ways}")
    if len(words) != len(shape):
        example = " ".join(["-"] * (len(shape) - 1) + ["fsdp"])
        raise UserError(
            f"{where}: words: {len(words)}, axes: {len(shape)}; write a word for each axis, such as"
            f" {example!r}, or fsdp or {REPLICATED} alone"
        )
    split = tuple(WORDS[word] for word in words)
    used = [axis for axes in split for axis in axes]
    for axis in used:
        if used.count(axis) > 1:
            raise UserError(f"{where}: an array is split over {axis} along one axis only")
    for axis, axes in enumerate(split):
        parts = prod(mesh.shape[each] for each in axes)
        if shape[axis] % parts:
            sizes = " x ".join(f"{each}={mesh.shape[each]}" for each in axes)
            raise UserError(f"{where}: axis {axis} does not divide by {sizes}")
    return split


# --- the built-in rules -------------------------------------------------------------------------


def _built_in(name: str, shape: Shape, mesh: AnyMesh, paths: set[str]) -> Split:
    """Over `tensor` as the layer suggests, over `fsdp` the largest axis that is left."""
    split: list[tuple[str, ...]] = [()] * len(shape)
    tensor, fsdp = mesh.shape["tensor"], mesh.shape["fsdp"]
    split_by_tensor = None
    if tensor > 1 and len(shape) > 1:
        split_by_tensor = _tensor_axis(name, shape, tensor, paths)
        split[split_by_tensor] = ("tensor",)
    if fsdp > 1:
        free = [axis for axis in range(len(shape)) if axis != split_by_tensor]
        axis = _largest(shape, fsdp, free)
        if axis is not None:
            split[axis] = ("fsdp",)
        elif split_by_tensor is not None and shape[split_by_tensor] % (tensor * fsdp) == 0:
            split[split_by_tensor] = WORDS["fsdp+tensor"]
        else:
            raise UserError(
                f"config.mesh.fsdp: no axis of {_described(name, shape)} divides by {fsdp};"
                f" {_remedy(name, REPLICATED)} keeps it whole"
            )
    return tuple(split)


def _tensor_axis(name: str, shape: Shape, tensor: int, paths: set[str]) -> int:
    """The first of the layer's axes that divides.

    Raises:
      UserError: none does, or the layer is not known.
    """
    axes = _tensor_axes(name, shape, paths)
    if not axes:
        words = " ".join(["-"] * (len(shape) - 1) + ["tensor"])
        raise UserError(
            f"config.mesh.tensor: no rule knows how to split {_described(name, shape)};"
            f" add one, such as {_remedy(name, words if shape[-1] % tensor == 0 else REPLICATED)}"
        )
    for axis in axes:
        if shape[axis] % tensor == 0:
            return axis
    sizes = " nor ".join(str(shape[axis]) for axis in axes)
    raise UserError(
        f"config.mesh.tensor: {_described(name, shape)} does not divide by {tensor} along the axes"
        f" of its layer: neither {sizes} does; {_remedy(name, REPLICATED)} keeps it whole"
    )


def _tensor_axes(name: str, shape: Shape, paths: set[str]) -> tuple[int, ...]:
    """Axes over which the layer can be computed in parts, the best first; none if it is unknown."""
    *scope, layer, leaf = ["", *name.split("/")]
    last = len(shape) - 1
    in_attention = layer in ATTENTION and "/".join([*scope[1:], "query", "kernel"]) in paths
    if in_attention and leaf == "kernel" and len(shape) == 3:
        # [in, heads, features] and, for `out`, [heads, features, out]; else over the model's width.
        return (0, 2) if layer == "out" else (1, 0)
    if in_attention and leaf == "bias" and layer != "out":
        return (0,)  # [heads, features]
    if leaf.endswith("kernel") and len(shape) > 3:
        return (last, last - 1)  # convolution: outputs, else inputs
    if leaf.endswith(("kernel", "embedding", "bias")):
        # Dense, recurrent, also [in, gates, hidden], and 1-d convolution: outputs, else the larger
        # one of the others, which is never the gates or the window. Embedding: features.
        return (last, *sorted(range(last), key=lambda axis: -shape[axis])[:1])
    return ()


# --- parts of both ------------------------------------------------------------------------------


def _sharding(mesh: AnyMesh, split: Split) -> NamedSharding:
    """Without mesh axes of one device, so that what is whole looks so."""
    kept = [tuple(axis for axis in axes if mesh.shape[axis] > 1) for axes in split]
    while kept and not kept[-1]:
        kept.pop()
    spec = [axes[0] if len(axes) == 1 else axes or None for axes in kept]
    return NamedSharding(mesh, PartitionSpec(*spec))


def _split(sharding: NamedSharding, rank: int, without: str = "") -> Split:
    """What `_sharding` was made of, without one of the mesh axes."""
    spec = [(part,) if isinstance(part, str) else part or () for part in sharding.spec]
    spec += [()] * (rank - len(spec))
    return tuple(tuple(axis for axis in axes if axis != without) for axes in spec)


def _along(axis: int, rank: int, mesh_axis: str) -> Split:
    return tuple((mesh_axis,) if each == axis else () for each in range(rank))


def _largest(shape: Shape, parts: int, axes: Sequence[int]) -> int | None:
    """The largest of the axes that divides; of equal ones the first."""
    fitting = [axis for axis in axes if shape[axis] % parts == 0]
    return max(fitting, key=lambda axis: shape[axis], default=None)


def _likeness(path: Sequence[str], parameter: Sequence[str]) -> tuple[int, bool, int]:
    """How far the ends of two paths agree; then, whether the first names the player of the second;
    then, how little of the second is left.
    """
    pairs = zip(reversed(path), reversed(parameter), strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return common, parameter[0] in path, -len(parameter)


def _described(name: str, shape: Shape) -> str:
    return f"{name} {list(shape)}"


def _remedy(name: str, words: str) -> str:
    return f"config.mesh.rules=(({name!r}, {words!r}),)"
