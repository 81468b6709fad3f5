"""Masked autoencoders: the pixels of an image of which most patches are hidden."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from dlresearch.config import Component
from dlresearch.data import EXAMPLE, FIRST
from dlresearch.errors import UserError
from dlresearch.models import unpatchify
from dlresearch.tasks.self_supervised.base import Learned, SelfSupervised
from dlresearch.tasks.self_supervised.masked_patches import (
    Masks,
    masked_error,
    random_masks,
    scale_of,
)
from dlresearch.tasks.self_supervised.networks import BACKBONE, Trees
from dlresearch.tasks.supervised import PLAYER, require
from dlresearch.tasks.task import Batch, MakeModel, Variables, fold_in_name

DECODER = "decoder"


class MAE(SelfSupervised):
    """He et al. 2021, arXiv:2111.06377: the encoder sees the patches that are left, and a small
    decoder, which is thrown away, tells the pixels of the others.

    The model is a `vit`, best with `positions="sincos"` as there. Images are those of
    `config.data.views.first`, or, without views, `image`. The online probe reads what the encoder
    makes of the patches it sees, in evaluations of all.

    Args:
      make_model: from the trainer; the model has, like `vit`, methods `encode` and `pixels`.
      metadata: of the training source, from the trainer.
      mask_ratio: share of the patches that are hidden, rounded; at least one is, and one is not.
      norm_pix_loss: tell pixels less the mean of their patch, divided by its standard deviation.
      decoder_width: features of a token in the decoder.
      decoder_depth: its blocks.
      decoder_heads: of its attention.
      probe: train a linear classifier on the features along the way, where there are classes.
      label: key of the classes.

    Raises:
      UserError: a share that is not between 0 and 1, or a decoder that cannot be.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        mask_ratio: float = 0.75,
        norm_pix_loss: bool = True,
        decoder_width: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        probe: bool = True,
        label: str = "label",
    ):
        if not 0 < mask_ratio < 1:
            raise UserError(f"config.task.mask_ratio: {mask_ratio} is not between 0 and 1")
        super().__init__(make_model, metadata, {}, probe, label)
        self.mask_ratio, self.norm_pix_loss = mask_ratio, norm_pix_loss
        sizes = {"width": decoder_width, "depth": decoder_depth, "heads": decoder_heads}
        component = Component("mae_decoder", **sizes)
        self._make_decoder = partial(make_model, component, "config.task.decoder")
        self._make_decoder(num_outputs=1)  # so that what is wrong with it is told at once

    @staticmethod
    def first(batch: Batch) -> Array:
        """The images."""
        return batch[FIRST] if FIRST in batch else require(batch, "image", "config.task")

    def init(self, key: Key[Array, ""], batch: Batch) -> Variables:
        variables = super().init(key, batch)
        params, images = variables.params[PLAYER], self.first(batch)
        patches = self._pixels(params, images)
        masks = random_masks(jax.random.uniform(key, patches.shape[:3]), self.mask_ratio)
        tokens, _ = self._encoded(params, variables.state[PLAYER], images, masks, train=False)
        decoder = self._make_decoder(num_outputs=patches.shape[-1])
        made, _ = decoder.init(fold_in_name(key, DECODER), tokens, *masks)
        return variables.replace(params={PLAYER: {**params, DECODER: made}})

    def learn(
        self, params: Trees, variables: Variables, batch: Batch, key: Key[Array, ""]
    ) -> Learned:
        images, before = self.first(batch), variables.state[PLAYER]
        patches = self._pixels(params, images)
        noise = jax.random.uniform(fold_in_name(key, "mask"), patches.shape[:3])
        told = self._told(params, before, images, patches, noise, train=True, key=key)
        loss = masked_error(told.patches, patches, told.masks.masked, self.norm_pix_loss)
        state = {**variables.state, PLAYER: {**before, BACKBONE: told.state}}
        return Learned(loss, told.features, state, {})

    def reconstruct(
        self, variables: Variables, batch: Batch
    ) -> dict[str, Float[Array, "batch height width channels"]]:
        """Images as the model reads them, `image`; `masked`, with the mean of all of an image's
        pixels where patches are hidden; `reconstruction`, with what the decoder tells there.

        What is hidden of an example follows from its number alone. With `norm_pix_loss` a told
        patch has the mean and the standard deviation of the true one, which it was not asked for.
        """
        params, state = self.learned(variables)
        images = require(batch, "image", "config.task").astype(jnp.float32)
        patches = self._pixels(params, images)

        def draw(number: Array) -> Array:
            key = jax.random.fold_in(jax.random.key(0), number)
            return jax.random.uniform(key, patches.shape[1:3])

        noise = jax.vmap(draw)(require(batch, EXAMPLE, EXAMPLE))
        told = self._told(params, state, images, patches, noise, train=False)
        guessed = told.patches
        if self.norm_pix_loss:
            scale = scale_of(patches)
            guessed = guessed * scale.deviation + scale.mean
        hidden, channels = told.masks.masked[..., None], images.shape[-1]
        middle = jnp.tile(jnp.mean(images, axis=(1, 2)), patches.shape[-1] // channels)
        grey = jnp.where(hidden, middle[:, None, None], patches)
        return {
            "image": images,
            "masked": unpatchify(grey, channels),
            "reconstruction": unpatchify(jnp.where(hidden, guessed, patches), channels),
        }

    def _told(
        self,
        params: Trees,
        state: Trees,
        images: Array,
        patches: Float[Array, "batch rows columns pixels"],
        noise: Float[Array, "batch rows columns"],
        *,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> "_Told":
        masks = random_masks(noise, self.mask_ratio)
        own, other = (None, None) if key is None else _both(key)
        tokens, new_state = self._encoded(params, state, images, masks, train=train, key=own)
        decoder = self._make_decoder(num_outputs=patches.shape[-1])
        told, _ = decoder.apply(params[DECODER], {}, tokens, *masks, train=train, key=other)
        ahead = tokens.shape[1] - masks.keep.shape[1]
        features = tokens[:, 0] if ahead else tokens.mean(1)
        return _Told(told, masks, features, new_state)

    def _encoded(
        self,
        params: Trees,
        state: Trees,
        images: Array,
        masks: Masks,
        *,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch tokens width"], PyTree]:
        return self.networks.models[BACKBONE].apply(
            params[BACKBONE],
            state.get(BACKBONE, {}),
            images,
            masks.keep,
            train=train,
            key=key,
            method="encode",
        )

    def _pixels(self, params: Trees, images: Array) -> Float[Array, "batch rows columns pixels"]:
        patches, _ = self.networks.models[BACKBONE].apply(
            params[BACKBONE], {}, images.astype(jnp.float32), train=False, method="pixels"
        )
        if patches.shape[1] * patches.shape[2] < 2:
            raise UserError(
                "config.model.patch_size: an image is a single patch, and nothing is left if it is"
                " hidden; make patches smaller"
            )
        return patches


class _Told(NamedTuple):
    patches: Float[Array, "batch rows columns pixels"]
    masks: Masks
    features: Float[Array, "batch width"]
    state: PyTree


def _both(key: Key[Array, ""]) -> tuple[Key[Array, ""], Key[Array, ""]]:
    return fold_in_name(key, BACKBONE), fold_in_name(key, DECODER)
