"""Adversarial networks: a generator and a discriminator, two players on one trainer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from dlresearch.config import Component
from dlresearch.data import EXAMPLE, check_labels
from dlresearch.errors import UserError
from dlresearch.tasks.gan import ada as adaptation
from dlresearch.tasks.gan import health, latents, losses
from dlresearch.tasks.gan.diff_augment import Policy, check_policy, diff_augment
from dlresearch.tasks.gan.discriminating import ADA, Augment, Discriminating
from dlresearch.tasks.gan.files import files, labels_of
from dlresearch.tasks.gan.form import Form
from dlresearch.tasks.gan.generating import MEAN_LENGTH, Generating
from dlresearch.tasks.gan.measured import nothing_yet
from dlresearch.tasks.gan.networks import DISCRIMINATOR, GENERATOR, STYLE_MEAN, Label, Networks
from dlresearch.tasks.supervised import require
from dlresearch.tasks.task import (
    Average,
    Batch,
    MakeModel,
    Player,
    Regulariser,
    Task,
    Time,
    Variables,
)

_ADA_INTERVAL = 4  # steps between two moves of the probability, as published


class GAN(Task):
    """A generator against a discriminator (Goodfellow et al. 2014, arXiv:1406.2661).

    The generator is `config.model`. In a step the discriminator is updated first, `repeats` times,
    each on examples of its own, then the generator. Generated examples get the labels of the real
    ones in the batch.

    Args:
      make_model: from the trainer. Both networks are offered `size`, `channels` and `num_classes`,
        which is 0 without `conditional`, and `num_outputs`: all values of an example, or one.
      metadata: of the training source.
      discriminator: the network that tells real from generated examples.
      loss: `non_saturating`, `hinge`, `least_squares`, `wasserstein` or `relativistic`.
      latent: size of the normal latent.
      conditional: give both networks the label.
      image: key of the examples, images or any others of one shape.
      label: key of the class.
      repeats: updates of the discriminator in a step.
      gradient_penalty: factor of the penalty on the gradient between real and generated examples
        (WGAN-GP, Gulrajani et al. 2017, arXiv:1704.00028; there 10).
      r1: gamma of the penalty gamma / 2 |gradient|^2 at real examples (Mescheder et al. 2018,
        arXiv:1801.04406).
      r2: gamma of the same penalty at generated examples.
      penalty_every: steps between two updates along `r1` and `r2`; 1 adds them to the loss.
      path_length: factor of the path-length regulariser (Karras et al. 2020, arXiv:1912.04958,
        section 3.2; there 2); needs a generator with styles.
      path_length_every: steps between two updates along it; 1 adds it to the loss.
      path_length_shrink: it sees a batch smaller by this factor, to save memory.
      diff_augment: policies of DiffAugment (Zhao et al. 2020, arXiv:2006.10738), on all that the
        discriminator sees: `colour`, `translation`, `cutout`.
      ada: categories of adaptive augmentation (Karras et al. 2020, arXiv:2006.06676), such as
        `bgc`; empty is off.
      ada_target: of the mean sign of the logits of real examples, at which the probability of
        augmentation stays as it is.
      ada_images: examples in which the probability could go from 0 to 1.
      average_half_life: of the generator's moving average, in examples; evaluation and generation
        use the average. 0 uses the generator itself.
      average_ramp: the half-life is at most this share of the examples so far; 0 is no limit.

    Raises:
      UserError: options that contradict each other, or a source that lacks what they need.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        discriminator: Component,
        loss: losses.AdversarialLoss = "non_saturating",
        latent: int = 128,
        conditional: bool = False,
        image: str = "image",
        label: str = "label",
        repeats: int = 1,
        gradient_penalty: float = 0.0,
        r1: float = 0.0,
        r2: float = 0.0,
        penalty_every: int = 1,
        path_length: float = 0.0,
        path_length_every: int = 4,
        path_length_shrink: int = 2,
        diff_augment: tuple[Policy, ...] = (),
        ada: adaptation.Types | Literal[""] = "",
        ada_target: float = 0.6,
        ada_images: float = 5e5,
        average_half_life: float = 0.0,
        average_ramp: float = 0.0,
    ):
        losses.check_kind(loss)
        check_policy(diff_augment)
        _at_least(
            1,
            latent=latent,
            repeats=repeats,
            penalty_every=penalty_every,
            path_length_every=path_length_every,
            path_length_shrink=path_length_shrink,
            ada_images=ada_images,
        )
        _at_least(
            0,
            gradient_penalty=gradient_penalty,
            r1=r1,
            r2=r2,
            path_length=path_length,
            average_half_life=average_half_life,
            average_ramp=average_ramp,
        )
        if conditional and not metadata.get("num_classes"):
            raise UserError("conditional=True: the source has no classes")
        form = Form.of(metadata, image)
        sizes = {**form.offered(), "num_classes": metadata["num_classes"] if conditional else 0}
        self.networks = Networks(
            make_model(**sizes),
            make_model(discriminator, "config.task.discriminator", **{**sizes, "num_outputs": 1}),
            latent,
            form,
            image,
            label if conditional else None,
        )
        self.discriminating = Discriminating(
            self.networks,
            loss,
            _augmentation(ada, diff_augment, form),
            adaptive=bool(ada),
            gradient_penalty=gradient_penalty,
            r1=r1,
            r2=r2,
            lazy=penalty_every > 1 and bool(r1 or r2),
        )
        self.generating = Generating(
            self.networks,
            self.discriminating,
            path_length=path_length,
            shrink=path_length_shrink,
            lazy=path_length_every > 1 and bool(path_length),
        )
        self.latent, self.metadata, self.repeats = latent, metadata, repeats
        self.penalty_every, self.path_length_every = penalty_every, path_length_every
        self.ada_target, self.ada_images = ada_target, ada_images
        self.average_half_life, self.average_ramp = average_half_life, average_ramp

    # --- the contract of a task -----------------------------------------------------------------

    @property
    def players(self) -> Sequence[Player]:
        discriminating, generating = self.discriminating, self.generating
        penalty = Regulariser(discriminating.penalty_alone, self.penalty_every)
        path_length = Regulariser(generating.path_length_alone, self.path_length_every)
        return (
            Player(
                DISCRIMINATOR,
                discriminating.loss,
                self.repeats,
                penalty if discriminating.lazy else None,
            ),
            Player(
                GENERATOR,
                generating.loss,
                regulariser=path_length if generating.lazy else None,
            ),
        )

    @property
    def averages(self) -> Mapping[str, Average]:
        if not self.average_half_life:
            return {}

        def of(variables: Variables) -> PyTree:
            return {"params": variables.params[GENERATOR], "state": variables.state[GENERATOR]}

        return {GENERATOR: Average(of, self._decay)}

    def init(self, key: Key[Array, ""], batch: Batch) -> Variables:
        networks, discriminating = self.networks, self.discriminating
        networks.check(batch)
        variables = networks.init(key, networks.real(batch), networks.labels(batch))
        state, lazily = variables.state, []
        if discriminating.lazy:
            lazily += [name for name in ("r1", "r2") if getattr(discriminating, name)]
        if self.generating.path_length:
            if STYLE_MEAN not in state[GENERATOR]:
                raise UserError("config.task.path_length: the generator has no styles; set it to 0")
            state = {**state, MEAN_LENGTH: jnp.float32(0)}
            lazily += ["path_length"] if self.generating.lazy else []
        if discriminating.adaptive:
            state = {**state, ADA: adaptation.initial()}
        return variables.replace(state={**state, **nothing_yet(lazily)})

    def after_step(self, variables: Variables, batch: Batch, key: Key[Array, ""]) -> Variables:
        if not self.discriminating.adaptive:
            return variables
        adjusted = adaptation.adjusted(
            variables.state[ADA],
            target=self.ada_target,
            images=self.ada_images,
            interval=_ADA_INTERVAL,
            batch=self.metadata["batch_size"],
        )
        return variables.replace(state={**variables.state, ADA: adjusted})

    def predict(self, variables: Variables, batch: Batch) -> dict[str, Array]:
        """A generated example for each row, and what the discriminator says of it and of the real
        one: `real_logit` and `fake_logit`.

        The latent of a row follows from `batch["example"]`, its number, or is `batch["latent"]`. A
        conditional generator reads the labels. `batch["truncation"]` truncates, one number or one
        for each row.
        """
        latent = batch.get("latent")
        if latent is None:
            latent = latents.numbered(require(batch, EXAMPLE, EXAMPLE), self.latent)
        label = self.networks.labels(batch)
        fake = self.networks.sample(variables, latent, label, batch.get("truncation"))
        outputs = {self.networks.image: self.networks.form.given(fake)}
        params, state = variables.params[DISCRIMINATOR], variables.state[DISCRIMINATOR]
        for name, examples in {"real": self.networks.real(batch), "fake": fake}.items():
            logits, _ = self.networks.judge(params, state, examples, label, train=False)
            outputs[f"{name}_logit"] = logits
        return outputs

    def check(self, examples: Mapping[str, np.ndarray]) -> None:
        label = self.networks.label
        if label is not None and label in examples:
            check_labels(examples[label], self.metadata["num_classes"], repr(label))

    def health(self, metrics: Mapping[str, float], progress: float) -> Iterator[str]:
        return health.told(metrics, progress)

    def generate(
        self,
        variables: Variables,
        key: Key[Array, ""],
        *,
        count: int = 16,
        label: str | None = None,
        truncation: float | None = None,
        format: str = "png",
    ) -> Iterator[tuple[str, bytes]]:
        """Files of generated examples.

        Args:
          count: how many.
          label: class of all of them, by name or number; None lets the classes take turns.
          truncation: of styles, 0 to 1, for a generator that has such; else the threshold of the
            latents' values, above 0. None does not truncate.
          format: `png`, a file for each; `npz`, one file with the arrays `image` and `label`.

        Raises:
          UserError: no such class or format, or pictures of what is no image.
        """
        if truncation is not None and truncation < 0:
            raise UserError(f"--truncation={truncation}: must not be negative")
        names = self.metadata.get("class_names", ())
        classes = 0 if self.networks.label is None else self.metadata["num_classes"]
        labels = labels_of(label, count, classes, names)

        def sample(variables: Variables, latent: Array, label: Label) -> Array:
            threshold = None if truncation is None else jnp.float32(truncation)
            images = self.networks.sample(variables, latent, label, threshold)
            return self.networks.form.given(images)

        yield from files(
            sample,
            variables,
            key,
            latent=self.latent,
            count=count,
            labels=labels,
            format=format,
        )

    def _decay(self, time: Time) -> Float[Array, ""]:
        batch = self.metadata["batch_size"]
        half_life = jnp.float32(self.average_half_life)
        if self.average_ramp:
            so_far = time.step.astype(jnp.float32) * batch
            half_life = jnp.minimum(half_life, jnp.maximum(self.average_ramp * so_far, 1e-8))
        return 0.5 ** (batch / half_life)


def _augmentation(
    types: adaptation.Types | Literal[""], policy: Sequence[Policy], form: Form
) -> Augment:
    if types and policy:
        raise UserError("ada and diff_augment are both set; choose one")
    if (types or policy) and not form.is_image:
        raise UserError(f"{'ada' if types else 'diff_augment'}: only for images")
    if types:
        adaptation.check_types(types)
        return lambda key, images, probability: adaptation.augment(key, images, probability, types)
    return lambda key, images, _: diff_augment(key, images, policy) if policy else images


def _at_least(least: int, **given: float) -> None:
    for name, value in given.items():
        if value < least:
            raise UserError(f"{name}={value}: must be at least {least}")
