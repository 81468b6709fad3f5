"""Tasks as later tracks will bring them, as small as can be: two players, a moving target, a
contrastive loss. And tasks that show what a run did."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Key

from dlresearch.models import functional
from dlresearch.parallel import split_rows
from dlresearch.tasks import Average, Batch, Classification, Player, Task, Variables


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
        latents = split_rows(jax.random.normal(key, (count, self.latent)))
        return self.generator.apply(params, {}, latents, train=True)[0]

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
        return {
            "target": Average(lambda v: v.params["online"]["encoder"], lambda t: 1 - decay(t.step))
        }

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


class TwoViews:
    """Augmentation: each image twice, `first` and `second`, with other noise."""

    random = True

    def __call__(self, key: Key[Array, ""], batch: dict[str, Array]) -> dict[str, Array]:
        images = flat(batch)
        keys = dict(zip(("first", "second"), jax.random.split(key), strict=True))
        views = {name: jax.random.normal(key, images.shape) for name, key in keys.items()}
        return {**batch, **{name: images + 0.1 * noise for name, noise in views.items()}}


class Encoder(nn.Module):
    """A code with batch normalisation in it, and its projection."""

    @nn.compact
    def __call__(self, x: Float[Array, "batch pixels"], *, train: bool):
        x = nn.Dense(32, use_bias=False)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        code = nn.Dense(16)(jnp.tanh(x))
        return code, nn.Dense(16)(jnp.tanh(code))


class Contrastive(Task):
    """NT-Xent (Chen et al. 2020, arXiv:2002.05709, eq. 1): among all views of the whole batch,
    which is the other one of the same image? Needs the augmentation `TwoViews`."""

    def __init__(self, temperature: float = 0.5):
        self.encoder = functional(Encoder)
        self.temperature = temperature

    @property
    def players(self):
        return (Player("encoder", self.loss),)

    def init(self, key, batch):
        params, state = self.encoder.init(key, flat(batch))
        return Variables(params={"encoder": params}, state={"encoder": state})

    def loss(self, params, variables, batch, key):
        views = jnp.concatenate([batch["first"], batch["second"]])
        (_, projection), state = self.encoder.apply(
            params, variables.state["encoder"], views, train=True
        )
        image = jnp.tile(jnp.arange(len(batch["first"])), 2)
        loss = optax.losses.ntxent(projection, image, self.temperature)
        return loss, ({"encoder": state}, {"loss": loss})

    def predict(self, variables, batch):
        (code, _), _ = self.encoder.apply(
            variables.params["encoder"], variables.state["encoder"], flat(batch), train=False
        )
        return code


class NumberedClassification(Classification):
    """Records which examples a step had, and in which rows, as means of whole numbers: exact in
    float32 for a batch of 32 examples with numbers below 16,384."""

    def losses(self, outputs, batch):
        losses, metrics = super().losses(outputs, batch)
        numbers = batch["number"].astype(jnp.float32)
        rows = jnp.arange(len(numbers), dtype=jnp.float32)
        return losses, {**metrics, "number": numbers, "number_times_row": numbers * rows}


class OnEachShard(Task):
    """Mixed into a task, makes a mistake of its losses: each eighth of the batch is seen alone, as
    by eight devices that share nothing but their gradients."""

    @property
    def players(self):
        return tuple(replace(each, loss=self._local(each.loss)) for each in super().players)

    @staticmethod
    def _local(loss):
        def mean_over_shards(params, variables, batch, key):
            shards = jax.tree.map(lambda rows: rows.reshape(8, -1, *rows.shape[1:]), dict(batch))
            each = jax.vmap(lambda shard: loss(params, variables, shard, key))(shards)
            return jax.tree.map(lambda values: jnp.mean(values, axis=0), each)

        return mean_over_shards


class LocalClassification(OnEachShard, Classification):
    """Batch norm over an eighth of the batch."""


class LocalContrastive(OnEachShard, Contrastive):
    """Views are told apart among those of an eighth of the batch."""
