"""Adaptive discriminator augmentation (ADA; Karras et al. 2020, arXiv:2006.06676): what the
discriminator sees is augmented, real and generated alike, with a probability that follows how much
it has overfitted.
"""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dlresearch.errors import UserError, suggest
from dlresearch.tasks.gan.ada_colour import change_colours, draw_colours
from dlresearch.tasks.gan.ada_corruptions import cut_out, draw_holes, draw_noise
from dlresearch.tasks.gan.ada_filters import draw_bands, filter_bands
from dlresearch.tasks.gan.ada_geometry import (
    blitted,
    draw_blits,
    draw_warps,
    of_blits,
    of_warps,
    warped,
)

Types = Literal[
    "blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc"
]
_GROUPS: dict[Types, frozenset[str]] = {
    **{name: frozenset({name}) for name in ("blit", "geom", "color", "filter", "noise", "cutout")},
    "bg": frozenset({"blit", "geom"}),
    "bgc": frozenset({"blit", "geom", "color"}),
    "bgcf": frozenset({"blit", "geom", "color", "filter"}),
    "bgcfn": frozenset({"blit", "geom", "color", "filter", "noise"}),
    "bgcfnc": frozenset({"blit", "geom", "color", "filter", "noise", "cutout"}),
}
Adaptive: TypeAlias = dict[str, Array]
"""State of the controller, float32 scalars: `probability` of each augmentation; and, since it was
last adjusted, the sum of the `signs` of the logits of real images and their `count`.
"""


def check_types(types: str) -> None:
    if types not in _GROUPS:
        raise UserError(f"ADA has no types {types!r}; {suggest(types, _GROUPS)}")


def augment(
    key: Key[Array, ""],
    images: Float[Array, "batch height width channels"],
    probability: Float[Array, ""] | float,
    types: Types = "bgc",
) -> Float[Array, "batch height width channels"]:
    """Images after geometry, colour, filtering in bands of frequency, noise and a hole, with the
    distributions of the paper's appendix B. Slopes with respect to images run through all.

    Args:
      images: float32 in [-1, 1], with 1 or 3 channels.
      probability: of each augmentation, from 0 to 1; with 0 the images are returned to the bit. It
        may be traced, and nothing is compiled again when it moves.
      types: which groups: `blit` (mirror, quarter turns, moves by whole pixels), `geom` (scale,
        turn, stretch, move), `color`, `filter`, `noise`, `cutout`, or several by their first
        letters as in the paper: `bg`, `bgc`, `bgcf`, `bgcfn`, `bgcfnc`.

    Raises:
      UserError: unknown types.
    """
    check_types(types)
    groups = _GROUPS[types]
    count, height, width, _ = images.shape
    keys = dict(zip(sorted(_GROUPS["bgcfnc"]), jax.random.split(key, 6), strict=True))
    shape = (count, height, width)
    if "geom" in groups:
        maps = of_warps(draw_warps(keys["geom"], probability, *shape))
        if "blit" in groups:
            blits = of_blits(draw_blits(keys["blit"], probability, *shape))
            maps = jnp.matmul(blits, maps, precision="highest")
        images = warped(images, maps)
    elif "blit" in groups:
        images = blitted(images, of_blits(draw_blits(keys["blit"], probability, *shape)))
    if "color" in groups:
        images = change_colours(images, draw_colours(keys["color"], probability, count))
    if "filter" in groups:
        images = filter_bands(images, draw_bands(keys["filter"], probability, count))
    if "noise" in groups:
        images = images + draw_noise(keys["noise"], probability, images)
    if "cutout" in groups:
        images = cut_out(images, draw_holes(keys["cutout"], probability, count))
    return images


def initial() -> Adaptive:
    """Nothing is augmented, and no logit seen."""
    return {name: jnp.zeros(()) for name in ("probability", "signs", "count")}


def observe(state: Adaptive, real_logits: Float[Array, " batch"]) -> Adaptive:
    """After a step of the discriminator, with its logits of real images."""
    return {
        **state,
        "signs": state["signs"] + jnp.sum(jnp.sign(real_logits)),
        "count": state["count"] + real_logits.size,
    }


def adjusted(
    state: Adaptive,
    target: float = 0.6,
    images: float = 500_000,
    interval: int = 4,
    batch: int = 64,
) -> Adaptive:
    """The probability moved, once the images of `interval` steps are seen; before, the same state.

    Up where the mean sign of the logits of real images, r_t of the paper (equation 1), is above the
    target, down where it is below, by as much as takes it from 0 to 1 over so many images.

    Args:
      target: of the mean sign; from -1 to 1, the larger the more overfitting is let be.
      images: that the discriminator sees while the probability moves by 1.
      interval: steps between two moves.
      batch: real images of a step.
    """
    mean = state["signs"] / jnp.maximum(state["count"], 1)
    by = jnp.sign(mean - target) * (batch * interval / images)
    moved = {**initial(), "probability": jnp.clip(state["probability"] + by, 0, 1)}
    due = state["count"] >= interval * batch
    return {name: jnp.where(due, moved[name], state[name]) for name in state}
