"""Results of PyTorch recorded in tests/references, with the inputs they belong to."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

REFERENCES = Path(__file__).parents[1] / "references"
ABOUT = "about"


@cache
def reference(family: str) -> dict[str, np.ndarray]:
    """Return the arrays of a family by name, as `tests/references/make.py` recorded them."""
    with np.load(REFERENCES / f"{family}.npz") as file:
        arrays = {name: file[name] for name in file.files if name != ABOUT}
    for array in arrays.values():
        array.flags.writeable = False  # tests share them
    return arrays


def about(family: str) -> dict[str, Any]:
    """Return the seed and the versions of the packages that a family was made with."""
    with np.load(REFERENCES / f"{family}.npz") as file:
        return json.loads(str(file[ABOUT]))


def part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin with `prefix` and a slash, without the two."""
    start = f"{prefix}/"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
