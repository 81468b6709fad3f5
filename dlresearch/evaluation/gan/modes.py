"""How many modes of a known mixture a generator finds, and how well it hits them."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import KDTree

from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Gathered
from dlresearch.evaluation.gan.outputs import generated
from dlresearch.tasks import Batch, require

_HIGH_QUALITY = 3.0  # standard deviations within which a sample counts, in both papers
_SHOWN = 10_000  # points of each kind in the picture: more only make it black


class ModesEvaluator(Gathered):
    """Mode coverage on a mixture whose centres are known, such as the source `gaussians`; one
    generated sample for each example.

    Metrics: `high_quality`, the share of samples within three standard deviations of the nearest
    centre; `modes`, the number of centres that are nearest to at least `least` such samples (both
    as Srivastava et al. 2017, arXiv:1705.07761, section 4, and Lin et al. 2018, arXiv:1712.04086,
    section 4.1, who count a mode from one sample on, of 2,500); `kl`, in nats, of the distribution
    of all samples over their nearest centres from the uniform one. The mixture itself has a
    `high_quality` of 1 - exp(-9/2) = 0.9889, and `kl` of about (centres - 1) / (2 samples). File:
    `points.png`, real and generated points.

    Args:
      centres: coordinates of each centre; None takes what the source says.
      deviation: of each mode in each direction; None takes what the source says.
      point: key of the points, shape [batch, dimension].
      least: high-quality samples that make a mode count. With one, a single stray of many samples
        would do; as many as 20 are also asked for.

    Raises:
      UserError: centres or deviation that nobody gave, or that do not fit the points.
    """

    def __init__(
        self,
        centres: tuple[tuple[float, ...], ...] | None = None,
        deviation: float | None = None,
        point: str = "point",
        least: int = 20,
    ):
        super().__init__()
        if centres is None or deviation is None:
            lacking = "centres" if centres is None else "deviation"
            raise UserError(f"{lacking}: the source does not tell; set it, or use gaussians")
        if not deviation > 0 or least < 1:
            raise UserError(
                f"deviation={deviation}, least={least}: make the first positive, and the second"
                " at least 1"
            )
        if not centres or len({len(centre) for centre in centres}) > 1:
            raise UserError("centres: give at least one, all with as many coordinates")
        self.centres = np.asarray(centres, np.float64)
        self.deviation, self.point, self.least = deviation, point, least

    def collect(self, outputs: Any, batch: Batch) -> dict[str, Array]:
        real = require(batch, self.point, "points")
        points = generated(outputs, self.point)
        if points.ndim != 2 or points.shape[1] != self.centres.shape[1]:
            raise UserError(
                f"generated points are {list(points.shape)}; the centres have"
                f" {self.centres.shape[1]} coordinates"
            )
        return {"generated": points.astype("float32"), "real": real}

    def finish(self, examples: Mapping[str, np.ndarray]) -> dict[str, Any]:
        points = examples["generated"].astype(np.float64)
        nearest, high_quality = _assigned(points, self.centres, self.deviation)
        hits = np.bincount(nearest[high_quality], minlength=len(self.centres))
        share = np.bincount(nearest, minlength=len(self.centres)) / len(points)
        occurs = share[share > 0]
        found = {
            "modes": np.count_nonzero(hits >= self.least),
            "high_quality": high_quality.mean(),
            "kl": np.sum(occurs * np.log(occurs * len(share))),
        }
        if self.centres.shape[1] == 2:
            title = (
                f"{found['modes']} of {len(self.centres)} modes,"
                f" {100 * found['high_quality']:.1f} % of high quality"
            )
            found["points.png"] = _scatter(
                examples["real"], points, self.centres, self.deviation, title
            )
        return found


def _assigned(
    points: Float[np.ndarray, "sample dimension"],
    centres: Float[np.ndarray, "mode dimension"],
    deviation: float,
) -> tuple[Int[np.ndarray, " sample"], Bool[np.ndarray, " sample"]]:
    """The nearest centre of each sample, and whether it is near enough to count."""
    finite = np.asarray(np.isfinite(points).all(axis=1))
    # A sample that is no number is far from everything.
    distances, nearest = KDTree(centres).query(np.where(finite[:, None], points, 0.0))
    return np.asarray(nearest), finite & (distances <= _HIGH_QUALITY * deviation)


def _scatter(
    real: Float[np.ndarray, "sample 2"],
    points: Float[np.ndarray, "sample 2"],
    centres: Float[np.ndarray, "mode 2"],
    deviation: float,
    title: str,
) -> bytes:
    """PNG: the real points at the left, the generated ones at the right, on the same axes."""
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    low, high = centres.min(axis=0), centres.max(axis=0)
    margin = 0.15 * (high - low).max() + 2 * _HIGH_QUALITY * deviation
    figure = Figure(figsize=(10, 5.3), layout="constrained")
    panels: Sequence[Any] = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, name, shown, colour in zip(
        panels,
        ("real", f"generated: {title}"),
        (real, points),
        ("tab:blue", "tab:orange"),
        strict=True,
    ):
        axes.plot(*centres.T, "+", color="0.8", markersize=14, zorder=0)
        axes.plot(*shown[:_SHOWN].T, ".", color=colour, markersize=1.5, alpha=0.5)
        axes.set(title=name, aspect="equal")
        axes.set(xlim=(low[0] - margin, high[0] + margin), ylim=(low[1] - margin, high[1] + margin))
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()
