"""The backends there are, imported when they are asked for."""

import importlib

from dlresearch.errors import UserError, suggest
from launch.backends import Backend
from launch.options import COMMON, Option

_PLACES = {
    "local": ("launch.backends.local", "Local"),
    "slurm": ("launch.backends.slurm", "Slurm"),
    "tpu_vm": ("launch.backends.tpu_vm", "TpuVm"),
    "kubernetes": ("launch.backends.kubernetes", "Kubernetes"),
}
NAMES = tuple(_PLACES)


def backend_called(name: str) -> Backend:
    """The backend of that name.

    Raises:
      UserError: there is none.
    """
    if name not in _PLACES:
        raise UserError(f"--backend: there is no {name!r}; {suggest(name, NAMES)}")
    module, kind = _PLACES[name]
    return getattr(importlib.import_module(module), kind)()


def all_options() -> dict[str, list[tuple[str, Option]]]:
    """Every option by name, with the backends that have it; "" stands for all of them."""
    found: dict[str, list[tuple[str, Option]]] = {each.name: [("", each)] for each in COMMON}
    for name in NAMES:
        for option in backend_called(name).options:
            found.setdefault(option.name, []).append((name, option))
    return found
