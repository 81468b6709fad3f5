"""How many images a second each augmentation of the catalogue changes, alone, compiled, uint8.

    python benchmarks/augmentations.py --out=docs/results/augmentations.json
    python benchmarks/augmentations.py --out=docs/results/augmentations-gpu.json --more=32

What comes with a probability costs the same whether it comes or not: a device computes all of a
batch. On an accelerator take larger batches, `--more` times those of a CPU.
"""

import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
MORE = flags.DEFINE_integer("more", 1, "Batches are so many times larger.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "How often all is timed; the median counts.")
SECONDS = flags.DEFINE_float("seconds", 0.3, "How long a round is, about.")
NOTE = flags.DEFINE_string("note", "", "What else the machine did, for the record.")

_SIZES = {32: 512, 224: 32}  # images in a batch, by their height and width in pixels
_ARGUMENTS = {"affine": {"degrees": 15.0}}  # what has no default
_CLASSES = 1000


def images_per_second(name: str, size: int, count: int) -> float:
    from dlresearch.config import Component, build

    component = Component(name, **_ARGUMENTS.get(name, {}))
    augment = build(component, "augmentation", name, num_classes=_CLASSES)
    rng = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.integers(0, 256, (count, size, size, 3)), jnp.uint8),
        "label": jnp.asarray(rng.integers(0, _CLASSES, count), jnp.int32),
        "example": jnp.arange(count),
        "epoch": jnp.zeros(count, jnp.int32),
    }
    call, key = jax.jit(augment), jax.random.key(0)
    jax.block_until_ready(call(key, batch))
    once = _seconds(call, key, batch, 1)
    calls = max(1, round(SECONDS.value / once))
    times = [_seconds(call, key, batch, calls) / calls for _ in range(ROUNDS.value)]
    return count / statistics.median(times)


def _seconds(call, key, batch, calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        result = call(key, batch)
    jax.block_until_ready(result)
    return time.perf_counter() - began


def main(_: list[str]) -> None:
    from dlresearch.config import names
    from dlresearch.training.workdir import device_name

    figures = {
        "device": device_name(),
        "note": NOTE.value,
        "batch": {f"{size} x {size}": MORE.value * count for size, count in _SIZES.items()},
        "images_per_second": {},
    }
    for name in names("augmentation"):
        speeds = {
            f"{size} x {size}": round(images_per_second(name, size, MORE.value * count))
            for size, count in _SIZES.items()
        }
        figures["images_per_second"][name] = speeds
        print(f"{name}: " + ", ".join(f"{s} {v:,} images/s" for s, v in speeds.items()), flush=True)
    Path(OUT.value).write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
