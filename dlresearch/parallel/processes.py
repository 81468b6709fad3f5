"""What a process does before it touches a device."""

import os
from pathlib import Path
from typing import Any

import jax

from dlresearch.errors import UserError


def set_up(compilation_cache: str | None = None, deterministic: bool = False) -> str:
    """Join the other processes where a cluster is found, and switch the compilation cache on.

    Args:
      compilation_cache: folder of compiled programs, shared by all runs; None takes
        `JAX_COMPILATION_CACHE_DIR`, else `~/.cache/dlresearch/compiled`; an empty string is off.
      deterministic: on GPUs, let XLA choose only operations whose result is the same every time.

    Returns:
      One line on which way was taken, for the log.

    Raises:
      UserError: there is no device of the kind that `JAX_PLATFORMS` asks for.
    """
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if compilation_cache is None:
        compilation_cache = os.environ.get(
            "JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache/dlresearch/compiled")
        )
    if compilation_cache:
        jax.config.update("jax_compilation_cache_dir", compilation_cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    cluster = _cluster()
    if cluster:
        jax.distributed.initialize()
    devices = _devices()
    where = f"{len(devices)} x {devices[0].device_kind}"
    if cluster:
        return f"process {jax.process_index()} of {jax.process_count()} ({cluster}), {where}"
    return f"one process, {where}"


def _devices() -> list[Any]:
    try:
        return jax.devices()
    # RuntimeError says so; without the plugin of a GPU, JAX 0.10 fails an assertion of its own.
    except (RuntimeError, AssertionError) as error:
        platforms = os.environ.get("JAX_PLATFORMS")
        if not platforms:
            raise
        raise UserError(
            f"JAX_PLATFORMS={platforms}: JAX finds no such device here; install JAX for it, or"
            " unset the variable to take what there is"
        ) from error


def _cluster() -> str | None:
    """The kind of cluster this process belongs to, as its environment tells; None for a single
    host.
    """
    environment = os.environ
    if "SLURM_STEP_NODELIST" in environment and int(environment.get("SLURM_NTASKS", "1")) > 1:
        return "Slurm"
    if int(environment.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        return "Open MPI"
    if "," in environment.get("TPU_WORKER_HOSTNAMES", ""):
        return "TPU"
    return None
