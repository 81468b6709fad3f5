"""Train and test rows of a set that comes in one piece."""

import numpy as np
from jaxtyping import Int

from dlresearch.errors import UserError, suggest

SPLITS = ("train", "test", "all")


def split_rows(
    length: int,
    split: str,
    held_out: float,
    seed: int,
    strata: Int[np.ndarray, " length"] | None = None,
) -> tuple[Int[np.ndarray, " rows"], Int[np.ndarray, " train"]]:
    """Which rows a split has, by a seeded permutation that holds out round(held_out * length).

    Args:
      length: number of rows in the whole set.
      split: `train`, `test`, or `all`.
      held_out: fraction of the rows that go to `test`.
      seed: of the permutation.
      strata: a class for each row; the fraction is then held out of every class.

    Returns:
      The rows of `split` and those of `train`, both ascending.

    Raises:
      UserError: an unknown split, a fraction that leaves one without rows, a negative seed.
    """
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}; {suggest(split, SPLITS)}")
    if not 0 <= held_out < 1:
        raise UserError(f"held_out={held_out} is not in [0, 1)")
    if seed < 0:
        raise UserError(f"split_seed={seed} is negative; use 0 or more")
    order = np.random.default_rng(seed).permutation(length)
    of_order = np.zeros(length, np.int64) if strata is None else strata[order]
    groups = [order[of_order == each] for each in np.unique(of_order)]
    test = np.sort(np.concatenate([group[: round(held_out * len(group))] for group in groups]))
    train = np.setdiff1d(order, test)
    rows = {"train": train, "test": test, "all": np.arange(length)}[split]
    if not len(rows) or not len(train):
        empty = split if len(train) else "train"
        raise UserError(f"held_out={held_out} of {length} examples leaves none for {empty!r}")
    return rows, train
