"""Devices and processes: the mesh, what lies where on it, and how a process joins the others."""

from dlresearch.parallel.mesh import (
    abstract_mesh,
    batch_sharding,
    batch_shards,
    check_batch_size,
    is_cpu,
    make_mesh,
    process_rows,
    put_batch,
    put_replicated,
    replicated,
)
from dlresearch.parallel.processes import ProcessOptions, set_up, unused_accelerator
from dlresearch.parallel.rows import on_mesh, split_rows
from dlresearch.parallel.sharding import (
    bytes_per_device,
    gather_weights,
    in_words,
    parameter_shardings,
    state_shardings,
)
from dlresearch.parallel.store import from_first, gather, host
from dlresearch.parallel.watch import Watch, at_failure

__all__ = [
    "ProcessOptions",
    "Watch",
    "abstract_mesh",
    "at_failure",
    "batch_sharding",
    "batch_shards",
    "bytes_per_device",
    "check_batch_size",
    "from_first",
    "gather",
    "gather_weights",
    "host",
    "in_words",
    "is_cpu",
    "make_mesh",
    "on_mesh",
    "parameter_shardings",
    "process_rows",
    "put_batch",
    "put_replicated",
    "replicated",
    "set_up",
    "split_rows",
    "state_shardings",
    "unused_accelerator",
]
