"""Smaller learning rates for lower layers, in fine-tuning (Clark et al. 2020, arXiv:2003.10555)."""

import re

import jax
from jaxtyping import PyTree

from dlresearch.errors import UserError
from dlresearch.patterns import path_of

_NUMBERED = re.compile(r"(stages|blocks)_(\d+)")
# What images and tokens go through before the first block.
_EMBEDDING = re.compile(
    r"(.*/)?(patches|class_token|mask_token|registers|positions|stem_[^/]*|[^/]*embedding)(/.*)?"
)


def layer_factors(params: PyTree, decay: float, where: str) -> PyTree[float]:
    """For each parameter decay^(L - l), for layer l of the layers 0 to L.

    Layer 0 is the embedding: `patches`, `class_token`, `registers`, `positions`, `embedding` and
    `stem_...`. Then each block is a layer, by the numbers in its path, `blocks_3` or
    `stages_1/blocks_0`; what leads into a stage belongs to its first block. The last, L, is all
    else, such as `final_norm` and `head` (Bao et al. 2021, arXiv:2106.08254, appendix; a vision
    transformer of 12 blocks has L = 13).

    Args:
      params: pytree of arrays or shapes.
      decay: above 0, at most 1; MAE fine-tunes with 0.65 to 0.75 (He et al. 2021, table 9).
      where: path in the config, for messages.

    Raises:
      UserError: a decay out of its range, no numbered blocks, or those of several networks.
    """
    if not 0 < decay <= 1:
        raise UserError(f"{where}: {decay} is not above 0 and at most 1")
    paths = [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    blocks = {path: block for path in paths if (block := _block_of(path)) is not None}
    if not blocks:
        raise UserError(
            f"{where}: no parameter is in a numbered block, such as 'blocks_3/...' or"
            f" 'stages_1/blocks_0/...', but in {', '.join(paths[:3])}; leave it at 1"
        )
    networks = sorted({network for network, _ in blocks.values()})
    if len(networks) > 1:
        raise UserError(
            f"{where}: there are numbered blocks of several networks, {', '.join(networks)}; it is"
            " for fine-tuning one"
        )
    order = {block: number for number, block in enumerate(sorted(set(blocks.values())), 1)}
    last = len(order) + 1

    def factor(path: tuple, _: object) -> float:
        name = path_of(path)
        if name in blocks:
            return decay ** (last - order[blocks[name]])
        return decay**last if _EMBEDDING.fullmatch(name) else 1.0

    return jax.tree_util.tree_map_with_path(factor, params)


def _block_of(path: str) -> tuple[str, tuple[int, int]] | None:
    """The network that a parameter's block is in, and the numbers of its stage and of itself."""
    parts = path.split("/")
    for place, part in enumerate(parts):
        if (found := _NUMBERED.fullmatch(part)) is None:
            continue
        network, number = "/".join(parts[:place]), int(found[2])
        if found[1] == "blocks":
            return network, (0, number)
        # What a stage has beside blocks stands in front of them.
        inner = _NUMBERED.fullmatch(parts[place + 1])
        return network, (number, int(inner[2]) if inner else 0)
    return None
