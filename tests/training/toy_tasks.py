"""Tasks as later tracks will bring them, as small as can be: two players, and a moving target."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlresearch.models import functional
from dlresearch.tasks import Average, Batch, Player, Task, Variables


class Dense(nn.Module):
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for width in self.widths[:-1]:
            x = jnp.tanh(nn.Dense(width)(x))
        return nn.Dense(self.widths[-1])(x)


def flat(batch: Batch):
    return batch["image"].reshape(len(batch["image"]), -1).astype(jnp.float32) / 255


class TwoPlayers(Task):
    """A generator against a discriminator that is updated `repeats` times on fresh examples."""

    def __init__(self, metadata: Mapping[str, Any], repeats: int = 2, latent: int = 4):
        self.generator = functional(Dense, widths=(16, 64))
        self.discriminator = functional(Dense, widths=(16, 1))
        self.repeats, self.latent = repeats, latent

    @property
    def players(self):
        return (
            Player("discriminator", self.discriminator_loss, self.repeats),
            Player("generator", self.generator_loss),
        )

    @property
    def averages(self):
        return {"generator": Average(lambda v: v.params["generator"], lambda step: 0.9)}

    def init(self, key, batch):
        one, two = jax.random.split(key)
        images = flat(batch)
        generator, _ = self.generator.init(one, jnp.zeros((len(images), self.latent)))
        discriminator, _ = self.discriminator.init(two, images)
        params = {"generator": generator, "discriminator": discriminator}
        return Variables(params=params, state={"seen": jnp.int32(0)})

    def generate(self, params, key, count):
        return self.generator.apply(
            params, {}, jax.random.normal(key, (count, self.latent)), train=True
        )[0]

    def discriminator_loss(self, params, variables, batch, key):
        real = flat(batch)
        fake = self.generate(variables.params["generator"], key, len(real))
        logits = [self.discriminator.apply(params, {}, x, train=True)[0] for x in (real, fake)]
        loss = jnp.mean(jax.nn.softplus(-logits[0])) + jnp.mean(jax.nn.softplus(logits[1]))
        state = {"seen": variables.state["seen"] + len(real)}
        return loss, (state, {"loss": loss, "real": jnp.mean(logits[0])})

    def generator_loss(self, params, variables, batch, key):
        fake = self.generate(params, key, len(batch["image"]))
        logits, _ = self.discriminator.apply(
            variables.params["discriminator"], {}, fake, train=True
        )
        loss = jnp.mean(jax.nn.softplus(-logits))
        return loss, (variables.state, {"loss": loss})

    def predict(self, variables, batch):
        latent = jnp.zeros((len(batch["image"]), self.latent))
        return self.generator.apply(variables.averages["generator"], {}, latent, train=False)[0]


class MovingTarget(Task):
    """Two noisy views; the one through the network predicts the other through its average."""

    def __init__(self, width: int = 8):
        self.encoder = functional(Dense, widths=(16, width))
        self.predictor = functional(Dense, widths=(width, width))

    @property
    def players(self):
        return (Player("online", self.loss),)

    @property
    def averages(self):
        decay = optax.cosine_decay_schedule(0.1, 50)
        return {"target": Average(lambda v: v.params["online"]["encoder"], lambda s: 1 - decay(s))}

    def init(self, key, batch):
        one, two = jax.random.split(key)
        encoder, _ = self.encoder.init(one, flat(batch))
        code, _ = self.encoder.apply(encoder, {}, flat(batch), train=False)
        predictor, _ = self.predictor.init(two, code)
        params = {"online": {"encoder": encoder, "predictor": predictor}}
        return Variables(params=params, state={"center": jnp.zeros(code.shape[1:])})

    def views(self, batch, key):
        images = flat(batch)
        return [images + 0.1 * jax.random.normal(k, images.shape) for k in jax.random.split(key)]

    def loss(self, params, variables, batch, key):
        first, second = self.views(batch, key)
        code, _ = self.encoder.apply(params["encoder"], {}, first, train=True)
        prediction, _ = self.predictor.apply(params["predictor"], {}, code, train=True)
        target, _ = self.encoder.apply(variables.averages["target"], {}, second, train=True)
        target = target - variables.state["center"]
        similarity = optax.cosine_similarity(prediction, target, epsilon=1e-6)
        loss = 2 - 2 * jnp.mean(similarity)
        return loss, (variables.state, {"loss": loss})

    def after_step(self, variables, batch, key):
        code, _ = self.encoder.apply(variables.averages["target"], {}, flat(batch), train=True)
        center = 0.9 * variables.state["center"] + 0.1 * jnp.mean(code, axis=0)
        return variables.replace(state={"center": center})

    def predict(self, variables, batch):
        return self.encoder.apply(variables.averages["target"], {}, flat(batch), train=False)[0]
