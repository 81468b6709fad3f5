"""The two networks of a GAN and how they are called."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from dlresearch.errors import UserError
from dlresearch.models import Model
from dlresearch.tasks.gan import latents
from dlresearch.tasks.gan.form import Form
from dlresearch.tasks.supervised import require
from dlresearch.tasks.task import Batch, Metrics, Variables

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
STYLE_MEAN = "style_mean"
"""Collection of a generator's state that says it can be truncated among its styles."""

State: TypeAlias = dict[str, PyTree]
Result: TypeAlias = tuple[Float[Array, ""], tuple[State, Metrics]]
"""What a player's loss gives."""
Label: TypeAlias = tuple[Int[Array, " batch"], ...]
"""The labels of a conditional network, or none."""


@dataclass(frozen=True)
class Networks:
    """A generator, a discriminator, and what they read of a batch.

    Attributes:
      latent: size of the latent.
      form: of examples.
      image: key of the examples.
      label: key of the classes; None for networks without.
    """

    generator: Model
    discriminator: Model
    latent: int
    form: Form
    image: str
    label: str | None

    def real(self, batch: Batch) -> Float[Array, "batch ..."]:
        """The real examples as the networks see them."""
        return self.form.seen(require(batch, self.image, "config.task.image"))

    def labels(self, batch: Batch) -> Label:
        return () if self.label is None else (require(batch, self.label, "config.task.label"),)

    def check(self, batch: Batch) -> None:
        """Raises UserError where examples come in another form than the source gives them."""
        examples = require(batch, self.image, "config.task.image")
        found = Form(examples.shape[1:], np.dtype(examples.dtype))
        if found != self.form:
            raise UserError(
                f"config.data: {self.image!r} is {found} after preprocessing and augmentations, and"
                f" {self.form} as the source gives it; what is generated is compared with the"
                " latter, so leave its form to the task"
            )

    def init(self, key: Key[Array, ""], real: Float[Array, "batch ..."], label: Label) -> Variables:
        generator_key, discriminator_key = jax.random.split(key)
        latent = jnp.zeros((len(real), self.latent))
        generator, generator_state = self.generator.init(generator_key, latent, *label)
        discriminator, state = self.discriminator.init(discriminator_key, real, *label)
        return Variables(
            params={GENERATOR: generator, DISCRIMINATOR: discriminator},
            state={GENERATOR: generator_state, DISCRIMINATOR: state},
        )

    def make(
        self, params: PyTree, state: PyTree, count: int, label: Label, key: Key[Array, ""]
    ) -> tuple[Float[Array, "batch ..."], PyTree]:
        """Examples from new latents in training mode, and the generator's new state."""
        latent_key, model_key = jax.random.split(key)
        latent = latents.drawn(latent_key, count, self.latent)
        outputs, state = self.generator.apply(
            params, state, latent, *label, train=True, key=model_key
        )
        return self.form.shaped(outputs), state

    def sample(
        self,
        variables: Variables,
        latent: Float[Array, "batch latent"],
        label: Label,
        truncation: Float[Array, "*batch"] | None = None,
    ) -> Float[Array, "batch ..."]:
        """Examples from given latents, of the generator's average where there is one."""
        average: Any = variables.averages.get(GENERATOR)
        params = variables.params[GENERATOR] if average is None else average["params"]
        # A checkpoint has no place for a state without arrays.
        state = variables.state[GENERATOR] if average is None else average.get("state", {})
        inputs: tuple[Any, ...] = (latent, *label)
        method = "__call__"
        if truncation is not None and STYLE_MEAN in state:
            method, inputs = "truncated", (latent, label[0] if label else None, truncation)
        elif truncation is not None:
            inputs = (latents.truncated(latent, truncation), *label)
        outputs, _ = self.generator.apply(params, state, *inputs, train=False, method=method)
        return self.form.shaped(outputs)

    def judge(
        self,
        params: PyTree,
        state: PyTree,
        examples: Float[Array, "batch ..."],
        label: Label,
        *,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, " batch"], PyTree]:
        """Logits, larger for what looks real, and the discriminator's new state.

        Raises:
          UserError: it does not give one number for each example.
        """
        logits, state = self.discriminator.apply(
            params, state, examples, *label, train=train, key=key
        )
        if logits.size != len(examples):
            raise UserError(
                f"config.task.discriminator: it gives {list(logits.shape[1:])} for an example; one"
                " logit is wanted"
            )
        return logits.reshape(len(examples)).astype(jnp.float32), state
