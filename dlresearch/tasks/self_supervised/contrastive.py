"""Contrastive losses: a view is to be told apart from the views of other images.

All are written for the whole batch: with rows that are split over devices, the negatives of a view
are those of all devices, and the value is that of one device. Vectors are brought to length 1 here,
in float32, and similarities are cosines divided by the temperature. Each function gives the loss
and, as a metric, the share of rows whose positive is more similar than every negative.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dlresearch.errors import UserError
from dlresearch.models.self_supervised import unit_length

LossAndAccuracy: TypeAlias = tuple[Float[Array, ""], Float[Array, ""]]

_EXACT = jax.lax.Precision.HIGHEST


def nt_xent(
    first: Float[Array, "batch features"],
    second: Float[Array, "batch features"],
    temperature: float,
) -> LossAndAccuracy:
    """The loss of SimCLR (Chen et al. 2020, arXiv:2002.05709, equation 1 and algorithm 1).

    For each of the 2 batch views the cross-entropy of finding the other view of the same image
    among all other views; the mean over views.

    Raises:
      UserError: a batch of one image, which has no negatives.
    """
    first, second = unit_length(first), unit_length(second)
    _check_several(len(first))
    similar, own = _all_pairs(first, second, temperature)
    others = jnp.where(own, -jnp.inf, similar)
    positive = jnp.sum(first * second, axis=-1) / temperature
    # [view, image] against [view, image]: the positive is the same image in the other view.
    negatives = jnp.where(jnp.eye(len(first), dtype=bool)[:, None], -jnp.inf, others)
    loss = jnp.mean(jax.nn.logsumexp(others, axis=(2, 3)) - positive)
    return loss, _share(positive > jnp.max(negatives, axis=(2, 3)))


def supervised_contrastive(
    first: Float[Array, "batch features"],
    second: Float[Array, "batch features"],
    labels: Int[Array, " batch"],
    temperature: float,
) -> LossAndAccuracy:
    """Supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362, equation 2, L_out).

    The positives of a view are all other views of its class; the log-probability of finding one is
    averaged over them outside the logarithm. The mean over views, where the paper writes a sum.
    The accuracy is the share of views whose most similar view is of their class.

    Raises:
      UserError: a batch of one image.
    """
    first, second = unit_length(first), unit_length(second)
    _check_several(len(first))
    similar, own = _all_pairs(first, second, temperature)
    alike = (labels[:, None] == labels)[:, None]  # [image, 1, image]: of any two views
    positive = alike & ~own
    others = jnp.where(own, -jnp.inf, similar)
    counts = jnp.sum(positive, axis=(2, 3))  # at least the other view of the image
    mean = jnp.sum(jnp.where(positive, similar, 0.0), axis=(2, 3)) / counts
    loss = jnp.mean(jax.nn.logsumexp(others, axis=(2, 3)) - mean)
    best = jnp.max(jnp.where(positive, similar, -jnp.inf), axis=(2, 3))
    return loss, _share(best > jnp.max(jnp.where(alike, -jnp.inf, similar), axis=(2, 3)))


def info_nce(
    queries: Float[Array, "batch features"],
    keys: Float[Array, "batch features"],
    negatives: Float[Array, "count features"],
    temperature: float,
) -> LossAndAccuracy:
    """The loss of MoCo (He et al. 2020, arXiv:1911.05722, equation 1).

    The cross-entropy of finding the key of a query among this key and the negatives; the mean over
    queries.

    Args:
      negatives: of length 1, such as the rows of a queue; the same for all queries.
    """
    queries, keys = unit_length(queries), unit_length(keys)
    positive = jnp.sum(queries * keys, axis=-1) / temperature
    negative = jnp.matmul(queries, negatives.T, precision=_EXACT) / temperature
    total = jnp.logaddexp(positive, jax.nn.logsumexp(negative, axis=1))
    return jnp.mean(total - positive), _share(positive > jnp.max(negative, axis=1))


def in_batch_info_nce(
    queries: Float[Array, "batch features"],
    keys: Float[Array, "batch features"],
    temperature: float,
) -> LossAndAccuracy:
    """As `info_nce`, with the keys of the other rows of the batch as negatives.

    That is equation 2 of NNCLR (Dwibedi et al. 2021, arXiv:2104.14548) with the neighbours as
    queries; `moco_v3` has a factor more.

    Raises:
      UserError: a batch of one image.
    """
    queries, keys = unit_length(queries), unit_length(keys)
    _check_several(len(queries))
    similar = jnp.matmul(queries, keys.T, precision=_EXACT) / temperature
    positive = jnp.sum(queries * keys, axis=-1) / temperature
    negative = jnp.where(jnp.eye(len(queries), dtype=bool), -jnp.inf, similar)
    loss = jnp.mean(jax.nn.logsumexp(similar, axis=1) - positive)
    return loss, _share(positive > jnp.max(negative, axis=1))


def moco_v3(
    queries: Float[Array, "batch features"],
    keys: Float[Array, "batch features"],
    temperature: float,
) -> LossAndAccuracy:
    """The loss of MoCo v3 (Chen et al. 2021, arXiv:2104.02057, algorithm 1, `ctr`).

    `in_batch_info_nce` times twice the temperature, which makes the best learning rate depend less
    on it.
    """
    loss, accuracy = in_batch_info_nce(queries, keys, temperature)
    return 2 * temperature * loss, accuracy


def _all_pairs(
    first: Float[Array, "batch features"],
    second: Float[Array, "batch features"],
    temperature: float,
) -> tuple[Float[Array, "2 batch 2 batch"], Bool[Array, "2 batch 2 batch"]]:
    """Similarities of all views, [view, image, view, image], and which are of a view with itself.

    Views have an axis of their own: rows that are split over devices stay where they are.
    """
    views = jnp.stack([first, second])
    similar = jnp.einsum("vif,wjf->viwj", views, views, precision=_EXACT) / temperature
    same_view, same_image = jnp.eye(2, dtype=bool), jnp.eye(len(first), dtype=bool)
    return similar, same_view[:, None, :, None] & same_image[:, None, :]


def _check_several(images: int) -> None:
    if images < 2:
        raise UserError("config.batch_size: a contrastive loss needs two images or more in a batch")


def _share(true: Bool[Array, "..."]) -> Float[Array, ""]:
    return jnp.mean(true.astype(jnp.float32))
