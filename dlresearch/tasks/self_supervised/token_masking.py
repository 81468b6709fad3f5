"""Which tokens of a text are hidden, and what stands in their place."""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from dlresearch.data import Vocabulary
from dlresearch.errors import UserError


class MaskedTokens(NamedTuple):
    """A batch with tokens hidden; `chosen` is as many as can be in a row of this width.

    Attributes:
      tokens: what the network reads.
      places: where tokens were chosen.
      targets: what stood there.
      counts: False where a row has fewer of them.
    """

    tokens: Int[Array, "batch time"]
    places: Int[Array, "batch chosen"]
    targets: Int[Array, "batch chosen"]
    counts: Bool[Array, "batch chosen"]


@dataclass(frozen=True)
class TokenMasking:
    """Masking of Devlin et al. 2019, arXiv:1810.04805, section 3.1.

    Of each row a share of the tokens is chosen at random, rounded, and at least one. A chosen token
    becomes the mask token, or any token at random, or stays. Padding is never chosen, nor are the
    beginning, the end and unknown tokens, which leave nothing to predict; these do not come in as
    random tokens either.

    Args:
      vocabulary: of the tokens; its size is the number of the mask token.
      chosen: share of the tokens to predict.
      masked: share of the chosen ones that become the mask token.
      replaced: share of the chosen ones that become a random token.

    Raises:
      UserError: a share that cannot be.
    """

    vocabulary: Vocabulary
    chosen: float = 0.15
    masked: float = 0.8
    replaced: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.chosen <= 1:
            raise UserError(f"config.task.chosen: {self.chosen} is not in (0, 1]")
        for name, share in {"masked": self.masked, "replaced": self.replaced}.items():
            if not 0 <= share <= 1:
                raise UserError(f"config.task.{name}: {share} is not in [0, 1]")
        if self.masked + self.replaced > 1:
            raise UserError(
                f"config.task.replaced: with masked={self.masked} at most"
                f" {1 - self.masked:g} are left, and it is {self.replaced}"
            )

    def __call__(
        self,
        keys: Key[Array, " batch"],
        tokens: Int[Array, "batch time"],
        length: Int[Array, " batch"],
    ) -> MaskedTokens:
        """The tokens of a batch, masked.

        What becomes of a row follows from its key and its tokens, whatever the width to which it is
        padded: evaluations pad rows by what else is in their batch.
        """
        time = tokens.shape[1]
        ordinary = self._ordinary()
        can_be = np.isin(np.arange(len(self.vocabulary)), ordinary)
        eligible = jnp.asarray(can_be)[tokens] & (jnp.arange(time) < length[:, None])
        numbers = jax.vmap(partial(_draw, time=time))(keys)
        order = jnp.argsort(jnp.where(eligible, numbers[..., 0], 2.0), axis=1)
        how_many = self._counts(time)
        wanted = jnp.asarray(how_many)[jnp.sum(eligible, axis=1)]
        is_chosen = jnp.argsort(order, axis=1) < wanted[:, None]

        at = jnp.floor(numbers[..., 2] * len(ordinary)).astype(jnp.int32)
        # Rounding can lead to the end of a large vocabulary.
        random = jnp.asarray(ordinary)[jnp.minimum(at, len(ordinary) - 1)]
        fate = numbers[..., 1]
        new = jnp.where(fate < self.masked + self.replaced, random, tokens)
        new = jnp.where(fate < self.masked, len(self.vocabulary), new)
        places = order[:, : how_many[-1]]
        return MaskedTokens(
            tokens=jnp.where(is_chosen, new, tokens),
            places=places,
            targets=jnp.take_along_axis(tokens, places, axis=1),
            counts=jnp.arange(places.shape[1]) < wanted[:, None],
        )

    def _ordinary(self) -> Int[np.ndarray, " token"]:
        """The tokens that are neither padding, beginning, end nor unknown."""
        known = self.vocabulary
        special = {known.pad, known.bos, known.eos, known.unknown} - {None}
        return np.array([each for each in range(len(known)) if each not in special], np.int32)

    def _counts(self, time: int) -> Int[np.ndarray, " time+1"]:
        """How many are chosen of 0, 1, ... tokens; in float64, so that it is so everywhere."""
        rounded = [max(1, math.floor(self.chosen * n + 0.5)) for n in range(1, time + 1)]
        return np.array([0, *rounded], np.int32)


def _draw(key: Key[Array, ""], time: int) -> Float[Array, "time 3"]:
    """Three numbers in [0, 1) for each place, which do not depend on how many places there are."""
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(time))
    return jax.vmap(lambda each: jax.random.uniform(each, (3,)))(keys)
