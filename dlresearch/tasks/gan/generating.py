"""What the generator learns from: its loss, and the regulariser of its paths."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree

from dlresearch.errors import UserError
from dlresearch.tasks.gan import latents, losses, penalties
from dlresearch.tasks.gan.discriminating import Discriminating
from dlresearch.tasks.gan.measured import keep, measured
from dlresearch.tasks.gan.networks import DISCRIMINATOR, GENERATOR, Label, Networks, Result
from dlresearch.tasks.task import Batch, Variables

MEAN_LENGTH = "mean_path_length"
"""Where the mean length of the paths is in the state."""


@dataclass(frozen=True)
class Generating:
    """The generator's side.

    Attributes:
      path_length: factor of the regulariser.
      shrink: the regulariser sees a batch smaller by this factor.
      lazy: whether it is a regulariser of its own, and not in the loss.
    """

    networks: Networks
    opponent: Discriminating
    path_length: float
    shrink: int
    lazy: bool

    def loss(
        self, params: PyTree, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Result:
        make_key, judge_key, path_key = jax.random.split(key, 3)
        real, label = self.networks.real(batch), self.networks.labels(batch)
        fake, state = self.networks.make(
            params, variables.state[GENERATOR], len(real), label, make_key
        )
        discriminator = variables.params[DISCRIMINATOR]
        judge = self.opponent.judge(discriminator, variables, label, judge_key)
        paired = judge(real) if self.opponent.kind == losses.PAIRED else None
        loss = losses.generator_loss(self.opponent.kind, judge(fake), paired)
        new_state = {**variables.state, GENERATOR: state}
        metrics = {
            "diversity": _spread(fake, *label) / jnp.maximum(_spread(real, *label), 1e-12),
            **measured(variables, "path_length"),
        }
        if self.path_length and not self.lazy:
            penalty, mean, now = self._path_length(params, variables, label, len(real), path_key)
            loss, new_state[MEAN_LENGTH] = loss + penalty, mean
            metrics |= now
        return loss, (new_state, {"loss": loss, **metrics})

    def path_length_alone(
        self, params: PyTree, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Result:
        label, count = self.networks.labels(batch), len(self.networks.real(batch))
        penalty, mean, now = self._path_length(params, variables, label, count, key)
        state = keep(variables.state, now)
        return penalty, ({**state, MEAN_LENGTH: mean}, {})

    def _path_length(
        self, params: PyTree, variables: Variables, label: Label, count: int, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The regulariser with its factor, the new mean length, and the length as measured."""
        if count % self.shrink:
            raise UserError(
                f"config.task.path_length_shrink: {self.shrink} does not divide the"
                f" {count} rows of a batch"
            )
        latent_key, style_key, image_key, noise_key = jax.random.split(key, 4)
        few = tuple(rows[:: self.shrink] for rows in label)
        latent = latents.drawn(latent_key, count // self.shrink, self.networks.latent)
        generator, state = self.networks.generator, variables.state[GENERATOR]
        styles, _ = generator.apply(
            params, state, latent, *few, train=True, key=style_key, method="mapping"
        )

        def synthesise(styles: Array) -> Array:
            images, _ = generator.apply(
                params, state, styles, train=True, key=image_key, method="synthesis"
            )
            return images

        penalty, mean, lengths = penalties.path_length(
            synthesise, styles, noise_key, variables.state[MEAN_LENGTH]
        )
        return self.path_length * penalty, mean, {"path_length": jnp.mean(lengths)}


def _spread(
    examples: Float[Array, "batch ..."], label: Int[Array, " batch"] | None = None
) -> Float[Array, ""]:
    """The standard deviation of a value over the examples of a class, or over all of them where
    there are no classes; a root mean square over values.
    """
    if label is None:
        return jnp.sqrt(jnp.mean(jnp.var(examples, axis=0)))
    rows = examples.reshape(len(examples), -1)
    alike = (label[:, None] == label).astype(rows.dtype)
    means = alike @ rows / jnp.sum(alike, axis=1, keepdims=True)
    return jnp.sqrt(jnp.mean(jnp.square(rows - means)))
