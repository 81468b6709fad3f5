"""Accelerators: what their data sheets say, and how many of which a user asks for.

Standard library only: `dlresearch check --for` reads it before JAX is imported.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from dlresearch.errors import UserError, suggest

_TABLE = Path(__file__).with_suffix(".toml")
_PER_HOST = 8  # GPUs
Record = TypeVar("Record")


@dataclass(frozen=True)
class Gpu:
    """The properties of an NVIDIA GPU that XLA's compiler reads.

    Attributes:
      compute_capability: such as `9.0`.
      cores: streaming multiprocessors.
      fpus_per_core: float32 units of one.
      threads_per_core: that one can hold.
      shared_memory_per_core, shared_memory_per_block, l2_cache: bytes.
      clock_ghz: highest clock.
    """

    compute_capability: str
    cores: int
    fpus_per_core: int
    threads_per_core: int
    shared_memory_per_core: int
    shared_memory_per_block: int
    l2_cache: int
    clock_ghz: float


@dataclass(frozen=True)
class Device:
    """A kind of accelerator.

    Attributes:
      name: for `--for`.
      kind: how JAX's name of it begins.
      bfloat16, float32: peak of dense matrix products in FLOP/s of one JAX device; `float32` with
        JAX's default precision.
      memory: bytes; None where programs cannot be compiled for it.
      bandwidth: of the memory, bytes a second.
      gpu: for NVIDIA GPUs; None for TPUs.
    """

    name: str
    kind: str
    bfloat16: float
    float32: float | None = None
    memory: int | None = None
    bandwidth: float | None = None
    gpu: Gpu | None = None

    def peak(self, precision: str) -> float:
        """FLOP/s at a `config.precision`."""
        return self.bfloat16 if precision != "float32" else self.float32 or self.bfloat16


@dataclass(frozen=True)
class Target:
    """The devices to compile for.

    Attributes:
      topology: of TPUs, such as `2x4`; of GPUs hosts x processes x devices.
    """

    device: Device
    count: int
    topology: str

    @property
    def platform(self) -> str:
        """JAX's name of the platform: `cuda` or `tpu`."""
        return "tpu" if self.device.gpu is None else "cuda"

    @property
    def label(self) -> str:
        """For people: `8 x NVIDIA H100`, `TPU v5 lite 2x4`."""
        if self.device.gpu is None:
            return f"{self.device.kind} {self.topology}"
        return f"{self.count} x {self.device.kind}"


def target(text: str) -> Target:
    """Parse `h100`, `h100:8`, `v5e:2x4`, or `FILE.toml:8` for a GPU that the user describes.

    Raises:
      UserError: another form, an unknown device, or a description that is damaged.
    """
    where = f"--for={text}"
    name, _, size = text.partition(":")
    if name.endswith(".toml"):
        device = _described(Path(name), where)
    else:
        known = {each.name: each for each in devices().values() if each.memory is not None}
        if name not in known:
            raise UserError(
                f"{where}: no device is called {name!r}; {suggest(name, known)}; or give a"
                " description, FILE.toml, as in docs/hardware.md"
            )
        device = known[name]
    if device.gpu is None:
        if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", size):
            raise UserError(f"{where}: give the topology of the TPUs, such as {name}:2x4")
        sizes = [int(each) for each in size.split("x")]
        count = sizes[0] * sizes[1] * (sizes[2] if len(sizes) == 3 else 1)
        return Target(device, count, size)
    if not re.fullmatch(r"[1-9]\d*", size or "1"):
        raise UserError(f"{where}: {size!r} is no number of devices, such as {name}:8")
    count = int(size or 1)
    if count > _PER_HOST and count % _PER_HOST:
        raise UserError(
            f"{where}: {count} devices do not fill hosts of {_PER_HOST};"
            f" use {count - count % _PER_HOST} or {count + _PER_HOST - count % _PER_HOST}"
        )
    hosts = max(1, count // _PER_HOST)
    return Target(device, count, f"{hosts}x1x{count // hosts}")


def peak_flops(device_kind: str) -> float | None:
    """Peak of one device in FLOP/s in bfloat16 (float16 on V100); None where it is not known."""
    matches = [each for each in devices().values() if device_kind.startswith(each.kind)]
    return max(matches, key=lambda each: len(each.kind)).bfloat16 if matches else None


@cache
def devices() -> Mapping[str, Device]:
    """Return the devices of hardware.toml, by name."""
    table = tomllib.loads(_TABLE.read_text())
    return {name: _device(name, entry, _TABLE.name) for name, entry in table.items()}


def _described(path: Path, where: str) -> Device:
    """The device of a user's own file."""
    try:
        entry = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{where}: cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # no TOML, or no text
        raise UserError(f"{where}: {path} is damaged: {error}") from None
    device = _device(path.stem, entry, where)
    missing = [name for name in ("memory", "bandwidth", "gpu") if getattr(device, name) is None]
    if missing:
        raise UserError(f"{where}: {', '.join(missing)} is missing")
    return device


def _device(name: str, entry: Mapping[str, Any], where: str) -> Device:
    gpu = entry.get("gpu")
    if gpu is not None:
        gpu = _record(Gpu, gpu, f"{where}: gpu")
        if not re.fullmatch(r"\d+\.\d", gpu.compute_capability):
            raise UserError(
                f"{where}: gpu.compute_capability={gpu.compute_capability!r}: write it as '9.0'"
            )
    return _record(Device, {"name": name, **entry, "gpu": gpu}, where)


def _record(kind: type[Record], entry: Any, where: str) -> Record:
    """A dataclass from a table of TOML, whose keys and types are checked."""
    if not isinstance(entry, Mapping):
        raise UserError(f"{where}: expected a table, not {entry!r}")
    known = {each.name: each for each in fields(kind)}  # pyright: ignore[reportArgumentType]
    for name, value in entry.items():
        if name not in known:
            raise UserError(f"{where}: there is no {name!r}; {suggest(name, known)}")
        number = any(word in str(known[name].type) for word in ("int", "float"))
        if number and value is not None:
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise UserError(f"{where}: {name}={value!r} is no positive number")
        elif "str" in str(known[name].type) and not isinstance(value, str):
            raise UserError(f"{where}: {name}={value!r} is no text")
    missing = [n for n, each in known.items() if each.default is MISSING and n not in entry]
    if missing:
        raise UserError(f"{where}: {', '.join(missing)} is missing")
    return kind(**entry)
