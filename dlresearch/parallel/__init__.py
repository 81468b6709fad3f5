"""Devices and processes: the mesh, what lies where on it, and how a process joins the others."""

from dlresearch.parallel.mesh import (
    batch_sharding,
    batch_shards,
    make_mesh,
    process_rows,
    put_batch,
    replicated,
)
from dlresearch.parallel.processes import set_up

__all__ = [
    "batch_sharding",
    "batch_shards",
    "make_mesh",
    "process_rows",
    "put_batch",
    "replicated",
    "set_up",
]
