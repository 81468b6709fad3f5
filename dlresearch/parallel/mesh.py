"""The mesh of devices, and where arrays lie on it."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from dlresearch.errors import UserError

AnyMesh: TypeAlias = Mesh | AbstractMesh

AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")  # every device that holds other parameters also sees other examples

# Explicit axes, the default of `jax.make_mesh`, make embeddings and scans raise.
_AXIS_TYPES = (AxisType.Auto,) * len(AXES)


def make_mesh(
    data: int = -1,
    fsdp: int = 1,
    tensor: int = 1,
    *,
    devices: Sequence[Any] | None = None,
) -> Mesh:
    """Arrange devices as `data` x `fsdp` x `tensor`; one of them may be -1: what is left.

    Args:
      devices: None takes all there are.

    Raises:
      UserError: the product is not the number of devices.
    """
    count = jax.device_count() if devices is None else len(devices)
    sizes = _sizes(count, data, fsdp, tensor)
    return jax.make_mesh(sizes, AXES, axis_types=_AXIS_TYPES, devices=devices)


def abstract_mesh(devices: int, data: int = -1, fsdp: int = 1, tensor: int = 1) -> AbstractMesh:
    """As `make_mesh`, of so many devices that need not be there: enough to plan, not to compute."""
    return AbstractMesh(_sizes(devices, data, fsdp, tensor), AXES, axis_types=_AXIS_TYPES)


def _sizes(devices: int, data: int, fsdp: int, tensor: int) -> tuple[int, ...]:
    sizes: dict[str, int] = dict(zip(AXES, (data, fsdp, tensor), strict=True))
    inferred = [axis for axis, size in sizes.items() if size == -1]
    if len(inferred) > 1:
        raise UserError(
            f"config.mesh: only one of {', '.join(inferred)} can be -1; give the others a number"
        )
    known = int(np.prod([size for size in sizes.values() if size != -1]))
    if inferred and known and devices % known == 0:
        sizes[inferred[0]] = devices // known
    if int(np.prod(list(sizes.values()))) != devices:
        raise UserError(
            f"config.mesh: data={data}, fsdp={fsdp}, tensor={tensor} does not arrange the"
            f" {devices} devices of this run; their product must be {devices}"
        )
    return tuple(sizes.values())


def is_cpu(mesh: AnyMesh) -> bool:
    """Return whether programs for this mesh are compiled for CPUs.

    An abstract mesh has no devices: it stands for the kind of device that JAX uses here.
    """
    if isinstance(mesh, AbstractMesh):
        return jax.default_backend() == "cpu"
    return mesh.devices.flat[0].platform == "cpu"


def batch_shards(mesh: AnyMesh) -> int:
    """Into how many parts the mesh splits a batch."""
    return int(np.prod([mesh.shape[axis] for axis in BATCH_AXES]))


def batch_sharding(mesh: AnyMesh, leading: int = 0) -> NamedSharding:
    """Split over the batch axis, which comes after `leading` axes that are not split."""
    return NamedSharding(mesh, PartitionSpec(*(None,) * leading, BATCH_AXES))


def replicated(mesh: AnyMesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch_size(mesh: AnyMesh, batch_size: int, setting: str = "config.batch_size") -> None:
    """Raises UserError where a batch does not divide by the parts of the mesh.

    Args:
      setting: where the size comes from, for the message.
    """
    shards = batch_shards(mesh)
    if batch_size % shards:
        lower = batch_size - batch_size % shards
        raise UserError(
            f"{setting}: {batch_size} does not divide by the {shards} devices that share"
            f" a batch; use {f'{lower} or ' if lower else ''}{lower + shards}"
        )


def process_rows(mesh: Mesh, batch_size: int) -> Int[np.ndarray, " row"]:
    """The rows of a global batch that this process reads, in ascending order.

    Those of its devices, wherever these lie in the mesh: on a TPU they follow the wiring, and need
    not be neighbours. Processes that only hold other parts of the parameters read the same rows.
    """
    rows = np.arange(batch_size).reshape(batch_shards(mesh), -1)
    return rows[_shards_of_process(mesh)].ravel()


def _shards_of_process(mesh: Mesh) -> Int[np.ndarray, " shard"]:
    here = [device.process_index == jax.process_index() for device in mesh.devices.flat]
    return np.flatnonzero(np.reshape(here, (batch_shards(mesh), -1)).any(axis=1))


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray], leading: int = 0) -> dict[str, jax.Array]:
    """This process's rows of a batch, as arrays that are split over the whole mesh."""
    sharding = batch_sharding(mesh, leading)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    shards = _shards_of_process(mesh)

    def put(rows: np.ndarray) -> jax.Array:
        size = rows.shape[leading] // len(shards)
        shape = list(rows.shape)
        shape[leading] = size * batch_shards(mesh)

        def part(index: Any) -> np.ndarray:
            place = np.searchsorted(shards, (index[leading].start or 0) // size)
            return rows[(*index[:leading], slice(place * size, (place + 1) * size))]

        return jax.make_array_from_callback(tuple(shape), sharding, part)

    return {name: put(np.asarray(rows)) for name, rows in batch.items()}


def put_replicated(mesh: Mesh, arrays: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """The same arrays on every device; every process has all of them."""
    sharding = replicated(mesh)
    if jax.process_count() == 1:
        return jax.device_put(arrays, sharding)

    # `jax.device_put` would first send all of it around, to see that processes have the same.
    def put(array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return {name: put(array) for name, array in arrays.items()}
