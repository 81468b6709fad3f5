"""What makes features of images: the pixels themselves, a trained classifier, Inception-v3."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from dlresearch.errors import UserError
from dlresearch.evaluation.gan import inception


@dataclass(frozen=True)
class Extractor:
    """A pure function from images to features.

    Attributes:
      about: who made the features, such as "pixels" or "convnet of run mnist, step 4690, sha256
        4f3a9c2e"; a figure made with other features cannot be compared.
      features: `(variables, images)`, images as the source gives them; float32.
      variables: arrays that both functions read; an argument, so that they are no constants of a
        compiled program.
      logits: of the same arguments, where it is a classifier.
    """

    about: str
    features: Callable[[PyTree, Shaped[Array, "batch ..."]], Float[Array, "batch features"]]
    variables: PyTree
    logits: Callable[[PyTree, Shaped[Array, "batch ..."]], Float[Array, "batch classes"]] | None = (
        None
    )


def open_extractor(name: str, open_run: Callable[[str], Extractor] | None) -> Extractor:
    """The extractor called `name`.

    Args:
      name: `pixels`, the folder of a run that trained a classifier, or the file of Inception-v3's
        weights.
      open_run: opens a run folder.

    Raises:
      UserError: it is none of these, or cannot be read.
    """
    if name == "pixels":
        return Extractor("pixels", _pixels, {})
    path = Path(name).expanduser()
    if path.is_dir() and open_run is not None:
        return open_run(str(path))
    if path.is_file():
        return Extractor(inception.ABOUT, inception.features, inception.load(path))
    raise UserError(
        f"extractor={name!r} is neither 'pixels' nor the folder of a run nor a file of Inception-v3"
        " weights; name one that is there"
    )


def _pixels(_: PyTree, images: Shaped[Array, "batch ..."]) -> Float[Array, "batch features"]:
    """The values of each example in a row; integers, which are 0 to 255, over 255."""
    flat = images.reshape(len(images), -1)
    scale = 255 if jnp.issubdtype(images.dtype, jnp.integer) else 1
    return flat.astype(jnp.float32) / scale
