"""A mixture of Gaussians in the plane: the smallest test of whether a generator drops modes."""

import numpy as np

from dlresearch.data.source import ArraySource
from dlresearch.errors import UserError


class Gaussians(ArraySource):
    """Points from equally likely Gaussians on a square grid around the origin.

    Yields `point` float32 [2], in the units of `spacing`, and `label` int32, the Gaussian it was
    drawn from; the centres are numbered along the second coordinate first. The metadata has
    `centres`, `deviation` and `num_classes`, which the evaluator `modes` reads.

    The defaults are the 25 Gaussians on which adversarial networks are compared: centres -4 to 4 in
    steps of 2, variance 0.0025 (Lin et al. 2018, PacGAN, arXiv:1712.04086, section 4.1; the grid is
    that of Srivastava et al. 2017, VEEGAN, arXiv:1705.07761, and Gulrajani et al. 2017, WGAN-GP,
    arXiv:1704.00028).

    Args:
      rows: Gaussians along each side of the grid, `rows` x `rows` in all.
      spacing: distance between neighbouring centres.
      deviation: standard deviation in each direction.
      count: number of points.
      seed: of the points; the centres are the same under every seed, so that another seed can serve
        as the test set.

    Raises:
      UserError: a number that cannot be.
    """

    def __init__(
        self,
        rows: int = 5,
        spacing: float = 2.0,
        deviation: float = 0.05,
        count: int = 100_000,
        seed: int = 0,
    ):
        for name, number in {"rows": rows, "count": count}.items():
            if number < 1:
                raise UserError(f"{name}={number}: must be at least 1")
        # Written so that nan is refused as well.
        if not (spacing > 0 and deviation > 0 and seed >= 0):
            raise UserError(
                f"spacing={spacing}, deviation={deviation}, seed={seed}: make the first two"
                " positive, and the seed not negative"
            )
        side = spacing * (np.arange(rows) - (rows - 1) / 2)
        centres = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
        rng = np.random.default_rng(seed)
        label = rng.integers(len(centres), size=count, dtype=np.int32)
        point = centres[label] + deviation * rng.standard_normal((count, 2))
        super().__init__(
            {"point": point.astype(np.float32), "label": label},
            {"centres": centres.tolist(), "deviation": deviation, "num_classes": len(centres)},
        )
