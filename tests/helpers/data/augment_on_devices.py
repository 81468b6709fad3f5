"""Augmentations of images, with a batch for them, on one device and split over eight."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlresearch.config import Component, build, names
from dlresearch.parallel import batch_sharding, make_mesh
from helpers.data.pictures import levels_apart

ARGUMENTS: dict[str, dict[str, Any]] = {
    "affine": {"degrees": 20.0},
    "shifted_crop": {"padding": 2},
    "erasing": {"noise": True},
}
# On levels, not on whatever numbers images have.
PHOTOMETRIC = (
    "colour_jitter",
    "grayscale",
    "solarise",
    "posterise",
    "autocontrast",
    "equalise",
    "rand_augment",
)
OF_IMAGES = [name for name in names("augmentation") if name != "transpose"]  # of music
_COLLECTIVE = re.compile(
    r"= (\S+) (?:all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)[a-z-]*\("
)


def make(name: str, dtype: Any = np.uint8) -> Any:
    """Return the augmentation of that name, for images of that type."""
    arguments = dict(ARGUMENTS.get(name, {}))
    if name in PHOTOMETRIC and dtype != np.uint8:
        arguments |= {"black": (0.0,), "white": (255.0,)}
    component = Component(name, **arguments)
    return build(component, "augmentation", "config.data.augmentations.0", num_classes=10)


def batch_of(image: np.ndarray, dtype: Any = np.uint8) -> dict[str, jax.Array]:
    count = len(image)
    return {
        "image": jnp.asarray(image, dtype),
        "label": jnp.arange(count) % 10,
        "example": jnp.arange(count),
        "epoch": jnp.zeros(count, jnp.int32),
        "other": jnp.arange(count),
    }


def augmented_on_eight_devices() -> dict[str, dict[str, Any]]:
    """Apply each augmentation to 16 images on one device, and split over eight.

    Returns:
        By name of the augmentation: the share of values that `differ` by more than the one level
        that rounding may take them up or down, and the shapes of what devices `sent` to each other.
    """
    assert jax.device_count() == 8
    image = np.random.default_rng(0).integers(0, 256, (16, 20, 18, 3)).astype(np.uint8)
    key, split, found = jax.random.key(0), batch_sharding(make_mesh()), {}
    for name in OF_IMAGES:
        batch, augment = batch_of(image), make(name)
        alone = np.asarray(jax.jit(augment)(key, batch)["image"])
        batch = jax.device_put(batch, split)
        together = jax.jit(augment, out_shardings=split).lower(key, batch).compile()
        found[name] = {
            "differ": float(np.mean(levels_apart(alone, together(key, batch)["image"]) > 1)),
            "sent": _COLLECTIVE.findall(together.as_text()),
        }
    return found
