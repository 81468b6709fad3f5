"""Devices that only a compiler knows."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from jax.experimental import topologies

from dlresearch.errors import UserError, one_line
from dlresearch.hardware import Device, Target

ENVIRONMENT: Mapping[str, str] = {
    "JAX_PLATFORMS": "cpu",  # data and constants
    # A program out of the cache tells nothing about its making.
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    # Nothing may ask for a driver, a device file or a metadata server.
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
"""Variables of a process that compiles ahead of time, set before it imports JAX."""

_PLUGINS = {
    "cuda": ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12"),
    "tpu": ("libtpu",),
}
_EXTRAS = {"cuda": "compile-gpu", "tpu": "compile-tpu"}


def check_compiler(target: Target) -> None:
    """Raises UserError where the compiler for `target` is not installed."""
    if not any(_is_installed(name) for name in _PLUGINS[target.platform]):
        extra = _EXTRAS[target.platform]
        raise UserError(
            f"--for: the compiler for {target.device.kind} is not installed;"
            f" pip install 'dlresearch[{extra}]'"
        )


def devices_of(target: Target) -> Sequence[Any]:
    """The devices, to compile for and not to compute with.

    Raises:
      UserError: the compiler does not know such devices.
    """
    if target.platform == "cuda":
        options = {"target_config": _target_config(target.device), "topology": target.topology}
        found = topologies.get_topology_desc(platform="cuda", **options)
    else:
        name = f"{target.device.name}:{target.topology}"
        try:
            found = topologies.get_topology_desc(platform="tpu", topology_name=name)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"--for: libtpu knows no {name}: {one_line(error)}") from None
    return found.devices


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent
        return False


def _target_config(device: Device) -> str:
    """XLA's description of a GPU (GpuTargetConfigProto), as text."""
    gpu = device.gpu
    assert gpu is not None and device.memory is not None and device.bandwidth is not None
    major, minor = gpu.compute_capability.split(".")
    numbers = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 49152,
        "shared_memory_per_core": gpu.shared_memory_per_core,
        "shared_memory_per_block_optin": gpu.shared_memory_per_block,
        "threads_per_core_limit": gpu.threads_per_core,
        "core_count": gpu.cores,
        "fpus_per_core": gpu.fpus_per_core,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 65535,
        "block_dim_limit_z": 65535,
        "thread_dim_limit_x": 1024,
        "thread_dim_limit_y": 1024,
        "thread_dim_limit_z": 64,
        "registers_per_core_limit": 65536,
        "registers_per_block_limit": 65536,
        "memory_bandwidth": int(device.bandwidth),
        "device_memory_size": device.memory,
        "l2_cache_size": gpu.l2_cache,
        "clock_rate_ghz": gpu.clock_ghz,
    }
    fields = " ".join(f"{name}: {value}" for name, value in numbers.items())
    capability = f"cuda_compute_capability {{ major: {major} minor: {minor} }}"
    return (
        f"gpu_device_info {{ {fields} {capability} }} "
        'platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 patch: 2 } '
        f'device_description_str: "{device.kind}"'
    )
