"""Stochastic depth: residual branches left out at random (Huang et al. 2016, arXiv:1603.09382)."""

from flax import linen as nn
from jaxtyping import Array, Float


def drop_rates(last: float, blocks: int) -> tuple[float, ...]:
    """The rate of each block: on a straight line from 0 for the first one to `last`.

    The linear decay of section 3 of the paper, with the first block always kept, as timm and the
    published ConvNeXt and DeiT recipes count it.
    """
    return tuple(last * index / max(blocks - 1, 1) for index in range(blocks))


def drop_branch(
    branch: Float[Array, "batch *rest"], rate: float, *, train: bool
) -> Float[Array, "batch *rest"]:
    """A residual branch, zero for each example with probability `rate` in training.

    What is kept is divided by 1 - rate, so that nothing has to be scaled outside of training (the
    paper scales there instead). To be called inside a compact Linen module; reads its random
    stream `dropout`.
    """
    over_all_but_examples = tuple(range(1, branch.ndim))
    return nn.Dropout(rate, broadcast_dims=over_all_but_examples, deterministic=not train)(branch)
