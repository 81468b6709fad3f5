"""The two forms of an example: as the source gives it, and as the networks see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from dlresearch.errors import UserError, suggest


@dataclass(frozen=True)
class Form:
    """Shape and dtype of an example as the source gives it.

    Integers are pixels from 0 to 255, which the networks see as -1 to 1. All else they see as it
    is.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @staticmethod
    def of(metadata: Mapping[str, Any], key: str) -> "Form":
        """That of `key`, as the metadata of the trainer says; raises UserError for no such key."""
        shapes = metadata["shapes"]
        if key not in shapes:
            raise UserError(f"image={key!r}: examples have no such key; {suggest(key, shapes)}")
        return Form(tuple(shapes[key]), np.dtype(metadata["dtypes"][key]))

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"

    @property
    def is_image(self) -> bool:
        return len(self.shape) == 3

    def offered(self) -> dict[str, int]:
        """What a network's constructor may ask for."""
        sizes = {"num_outputs": prod(self.shape)}
        if self.is_image:
            height, width, channels = self.shape
            sizes["channels"] = channels
            if height == width:
                sizes["size"] = height
        return sizes

    def seen(self, examples: Shaped[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        """As the networks see them, float32."""
        examples = jnp.asarray(examples)
        if not jnp.issubdtype(examples.dtype, jnp.integer):
            return examples.astype(jnp.float32)
        return examples.astype(jnp.float32) / 127.5 - 1

    def shaped(self, outputs: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
        """The outputs of a generator in the shape of examples, float32.

        Raises:
          UserError: there are too many of them, or too few.
        """
        if prod(outputs.shape[1:]) != prod(self.shape):
            raise UserError(
                f"config.model: it makes examples {list(outputs.shape[1:])}, and the source has"
                f" {list(self.shape)}"
            )
        return outputs.reshape(len(outputs), *self.shape).astype(jnp.float32)

    def given(self, examples: Float[Array, "batch ..."]) -> Shaped[Array, "batch ..."]:
        """As the source gives them: the inverse of `seen`, rounded and clipped for pixels."""
        if not np.issubdtype(self.dtype, np.integer):
            return examples.astype(self.dtype)
        return jnp.clip(jnp.round((examples + 1) * 127.5), 0, 255).astype(self.dtype)
