"""Several views of every image, made on the device, for learning without labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from dlresearch import config
from dlresearch.config import build_all
from dlresearch.data.augmentations import Augmentation, apply_all
from dlresearch.errors import UserError

FIRST, SECOND, LOCAL = "first_view", "second_view", "local_views"
"""Keys of a batch: two of [batch, height, width, channel], one of [batch, count, ...]."""

_PATH = "config.data.views"


@dataclass(frozen=True)
class Views:
    """How the views of an image are made; a pipeline without augmentations makes none.

    Attributes:
      second: None makes the second view as the first.
      local_count: views that the last pipeline makes of each image.
    """

    first: tuple[Augmentation, ...]
    second: tuple[Augmentation, ...] | None
    local: tuple[Augmentation, ...]
    local_count: int

    def __call__(self, key: Key[Array, ""], batch: dict[str, Array]) -> dict[str, Array]:
        """The batch with `first_view`, `second_view` and, if there are any, `local_views`."""
        first_key, second_key, local_key = jax.random.split(key, 3)
        views: dict[str, Array] = {}
        if self.first and self.second is None:
            both = self._made(self.first, "first", first_key, batch, 2)
            views |= {FIRST: both[:, 0], SECOND: both[:, 1]}
        elif self.first and self.second is not None:
            views[FIRST] = self._made(self.first, "first", first_key, batch)[:, 0]
            views[SECOND] = self._made(self.second, "second", second_key, batch)[:, 0]
        if self.local:
            views[LOCAL] = self._made(self.local, "local", local_key, batch, self.local_count)
        if taken := sorted(views.keys() & batch.keys()):
            raise UserError(
                f"{_PATH}: examples have a key {taken[0]!r} of their own; rename it with"
                " config.data.transforms"
            )
        return {**batch, **views}

    def preprocessed(
        self, preprocess: Sequence[Augmentation], batch: dict[str, Array]
    ) -> dict[str, Array]:
        """The batch with all of its views preprocessed as images are."""
        done = {}
        for name in (FIRST, SECOND, LOCAL):
            if name in batch:
                views = batch[name]
                flat = views.reshape(-1, *views.shape[-3:])
                key = jax.random.key(0)  # none of them is random
                flat = apply_all(preprocess, key, {"image": flat}, "config.data.preprocess")
                image = flat["image"]
                done[name] = image.reshape(*views.shape[:-3], *image.shape[1:])
        return {**batch, **done}

    @staticmethod
    def _made(
        pipeline: Sequence[Augmentation],
        name: str,
        key: Key[Array, ""],
        batch: dict[str, Array],
        count: int = 1,
    ) -> Array:
        """Views [batch, count, height, width, channel], each with draws of its own."""
        if "image" not in batch:
            raise UserError(f"{_PATH}: the batch has no 'image' to make views of")
        # All in one go, next to each other: a pipeline is compiled once, and the views of an image
        # are where the image is.
        rows = jax.tree.map(lambda values: jnp.repeat(values, count, axis=0), batch)
        image = apply_all(pipeline, key, rows, f"{_PATH}.{name}")["image"]
        return image.reshape(-1, count, *image.shape[1:])


def make_views(options: config.Views, **known: Any) -> Views | None:
    """Those of `config.data.views`, None where there are none.

    Args:
      known: what augmentations may ask for.

    Raises:
      UserError: a second or local views without what they need, or an augmentation that goes by
        the number of the example.
    """
    made = {
        name: build_all(components, "augmentation", f"{_PATH}.{name}", **known)
        for name in ("first", "second", "local")
        if (components := getattr(options, name)) is not None
    }
    for name, pipeline in made.items():
        for index, part in enumerate(pipeline):
            if getattr(part, "reads_visit", False):
                raise UserError(
                    f"{_PATH}.{name}.{index}: it goes by the epoch, and views of one image would"
                    " be alike; take a random one"
                )
    if options.second is not None and not made["first"]:
        raise UserError(f"{_PATH}.second: there is no first view; set {_PATH}.first")
    if made["local"] and not options.local_count:
        raise UserError(f"{_PATH}.local_count: 0, so that nothing is local; set it, or clear local")
    if options.local_count and not made["local"]:
        raise UserError(f"{_PATH}.local: empty, and local_count={options.local_count}; set both")
    if not made["first"] and not made["local"]:
        return None
    return Views(made["first"], made.get("second"), made["local"], options.local_count)
