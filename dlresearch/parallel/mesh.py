"""The mesh of devices, and where arrays lie on it."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dlresearch.errors import UserError

AXES = ("data", "fsdp", "tensor")
BATCH_AXES = ("data", "fsdp")  # every device that holds other parameters also sees other examples


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """All devices, arranged as `data` x `fsdp` x `tensor`; one of them may be -1: what is left.

    Raises:
      UserError: the product is not the number of devices.
    """
    sizes: dict[str, int] = dict(zip(AXES, (data, fsdp, tensor), strict=True))
    devices = jax.device_count()
    inferred = [axis for axis, size in sizes.items() if size == -1]
    if len(inferred) > 1:
        raise UserError(f"config.mesh: only one of {', '.join(inferred)} can be -1")
    known = int(np.prod([size for size in sizes.values() if size != -1]))
    if inferred and known and devices % known == 0:
        sizes[inferred[0]] = devices // known
    if int(np.prod(list(sizes.values()))) != devices:
        raise UserError(
            f"config.mesh: data={data}, fsdp={fsdp}, tensor={tensor} does not arrange the"
            f" {devices} devices of this run; their product must be {devices}"
        )
    # Explicit axes, the default of `jax.make_mesh`, make embeddings and scans raise.
    return jax.make_mesh(tuple(sizes.values()), AXES, axis_types=(AxisType.Auto,) * len(AXES))


def batch_shards(mesh: Mesh) -> int:
    """Into how many parts the mesh splits a batch."""
    return int(np.prod([mesh.shape[axis] for axis in BATCH_AXES]))


def batch_sharding(mesh: Mesh, leading: int = 0) -> NamedSharding:
    """Split over the batch axis, which comes after `leading` axes that are not split."""
    return NamedSharding(mesh, PartitionSpec(*(None,) * leading, BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def process_rows(mesh: Mesh, batch_size: int, setting: str = "config.batch_size") -> slice:
    """The rows of a global batch that this process reads.

    Args:
      setting: where the size comes from, for the message.

    Raises:
      UserError: the batch does not divide by the parts of the mesh.
    """
    shards = batch_shards(mesh)
    if batch_size % shards:
        lower = batch_size - batch_size % shards
        raise UserError(
            f"{setting}: {batch_size} does not divide by the {shards} devices that share"
            f" a batch; use {f'{lower} or ' if lower else ''}{lower + shards}"
        )
    indices = batch_sharding(mesh).addressable_devices_indices_map((batch_size,)).values()
    rows = sorted({index[0].indices(batch_size)[:2] for index in indices if index is not None})
    return slice(rows[0][0], rows[-1][1])


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray], leading: int = 0) -> dict[str, jax.Array]:
    """This process's rows of a batch, as arrays that are split over the whole mesh."""
    sharding = batch_sharding(mesh, leading)
    if mesh.size == 1:
        return jax.device_put(batch, sharding)
    return {
        name: jax.make_array_from_process_local_data(sharding, np.asarray(rows))
        for name, rows in batch.items()
    }
