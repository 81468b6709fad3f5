"""What the discriminator learns from: its loss, and penalties on its gradient."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from dlresearch.tasks.gan import ada, losses, penalties
from dlresearch.tasks.gan.measured import keep, measured
from dlresearch.tasks.gan.networks import DISCRIMINATOR, GENERATOR, Label, Networks, Result
from dlresearch.tasks.task import Batch, Variables

ADA = "ada"
"""Where the state of adaptive augmentation is."""

Augment: TypeAlias = Callable[[Key[Array, ""], Array, Array], Array]
"""What the discriminator sees, of a key, examples and the probability of adaptive augmentation."""
Judge: TypeAlias = Callable[[Float[Array, "batch ..."]], Float[Array, " batch"]]


@dataclass(frozen=True)
class Discriminating:
    """The discriminator's side.

    Attributes:
      adaptive: whether the state has the probability of augmentation.
      gradient_penalty: factor of that of WGAN-GP.
      r1: gamma of the zero-centred penalty at real examples.
      r2: gamma of that at generated ones.
      lazy: whether `r1` and `r2` are a regulariser of their own, and not in the loss.
    """

    networks: Networks
    kind: losses.AdversarialLoss
    augment: Augment
    adaptive: bool
    gradient_penalty: float
    r1: float
    r2: float
    lazy: bool

    def loss(
        self, params: PyTree, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Result:
        make_key, judge_key, penalty_key, between_key = jax.random.split(key, 4)
        real, fake, label = self._examples(variables, batch, make_key)
        state = variables.state[DISCRIMINATOR]
        logits = {}
        for name, examples in {"real": real, "fake": fake}.items():
            judge_key, own_key = jax.random.split(judge_key)
            logits[name], state = self._judge(params, state, variables, examples, label, own_key)
        new_state = {**variables.state, DISCRIMINATOR: state}
        loss = losses.discriminator_loss(self.kind, logits["real"], logits["fake"])
        metrics = {
            "real_accuracy": jnp.mean(logits["real"] > 0),
            "fake_accuracy": jnp.mean(logits["fake"] < 0),
            "real_logit": jnp.mean(logits["real"]),
            "fake_logit": jnp.mean(logits["fake"]),
            **measured(variables, "r1", "r2"),
        }
        if self.adaptive:
            metrics["augmentation_probability"] = variables.state[ADA]["probability"]
            new_state[ADA] = ada.observe(variables.state[ADA], logits["real"])
        judge = self.judge(params, variables, label, penalty_key)
        if self.gradient_penalty:
            penalty = penalties.gradient_penalty(judge, real, fake, between_key)
            loss += self.gradient_penalty * penalty
            metrics["gradient_penalty"] = penalty
        if not self.lazy:
            penalty, now = self._penalty(judge, real, fake)
            loss, metrics = loss + penalty, {**metrics, **now}
        return loss, (new_state, {"loss": loss, **metrics})

    def penalty_alone(
        self, params: PyTree, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Result:
        make_key, judge_key = jax.random.split(key)
        real, fake, label = self._examples(variables, batch, make_key)
        judge = self.judge(params, variables, label, judge_key)
        penalty, now = self._penalty(judge, real, fake)
        return penalty, (keep(variables.state, now), {})

    def _penalty(
        self, judge: Judge, real: Float[Array, "batch ..."], fake: Float[Array, "batch ..."]
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """R1 and R2, and each as measured, without its factor."""
        total, found = jnp.float32(0), {}
        for name, gamma, examples in (("r1", self.r1, real), ("r2", self.r2, fake)):
            if gamma:
                found[name] = penalties.zero_centred_penalty(judge, examples)
                total += gamma / 2 * found[name]
        return total, found

    def _judge(
        self,
        params: PyTree,
        state: PyTree,
        variables: Variables,
        examples: Float[Array, "batch ..."],
        label: Label,
        key: Key[Array, ""],
    ) -> tuple[Float[Array, " batch"], PyTree]:
        """What a discriminator in training says of examples, which it sees augmented."""
        augment_key, model_key = jax.random.split(key)
        probability = variables.state[ADA]["probability"] if self.adaptive else jnp.float32(1)
        seen = self.augment(augment_key, examples, probability)
        return self.networks.judge(params, state, seen, label, train=True, key=model_key)

    def judge(
        self, params: PyTree, variables: Variables, label: Label, key: Key[Array, ""]
    ) -> Judge:
        """A function of the examples alone, to be differentiated by them."""
        state = variables.state[DISCRIMINATOR]
        return lambda examples: self._judge(params, state, variables, examples, label, key)[0]

    def _examples(
        self, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, "batch ..."], Float[Array, "batch ..."], Label]:
        """Real and as many generated ones, and the labels of both."""
        real, label = self.networks.real(batch), self.networks.labels(batch)
        params, state = variables.params[GENERATOR], variables.state[GENERATOR]
        fake, _ = self.networks.make(params, state, len(real), label, key)
        return real, fake, label
