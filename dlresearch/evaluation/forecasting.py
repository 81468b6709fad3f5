"""How far forecasts are from what came, beside forecasts that need no model."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dlresearch.errors import UserError
from dlresearch.evaluation.evaluator import Summed
from dlresearch.tasks import Batch, require


class ForecastingEvaluator(Summed):
    """`mae` and `rmse` over all steps of the horizon, in units of the series.

    `naive_mae` and `naive_rmse` are those of the naive forecast, and `relative_mae` is `mae` over
    `naive_mae`: below 1 the model is better. The naive forecast repeats the last value of the
    window, or with `season` the last season (Hyndman and Athanasopoulos, Forecasting: Principles
    and Practice, 3rd ed. 2021, section 5.2).

    Args:
      season: steps after which the series repeats itself, at most those of a window; None repeats
        the last value.
      scale: what a difference of 1 in the targets is in units of the series; from the source.
      window: key of the windows [batch, time, channels], of whose first channel the target is.
      target: key of the values after them [batch, horizon].

    Raises:
      UserError: a season below 1 or longer than the windows.
    """

    def __init__(
        self,
        season: int | None = None,
        scale: float = 1.0,
        window: str = "window",
        target: str = "target",
    ):
        super().__init__()
        if season is not None and season < 1:
            raise UserError(f"season={season}: must be at least 1")
        self.season, self.scale = season, scale
        self.window, self.target = window, target

    def update(self, outputs: Float[Array, "batch horizon"], batch: Batch) -> dict[str, Array]:
        window = require(batch, self.window, "window")
        target = require(batch, self.target, "target")
        if outputs.shape != target.shape:
            raise UserError(
                f"the model gives {list(outputs.shape)} and targets are {list(target.shape)}; it"
                " takes one output for each step of the horizon"
            )
        error = jnp.where(batch["mask"][:, None], outputs - target, 0.0)
        naive = jnp.where(batch["mask"][:, None], self._naive(window, target) - target, 0.0)
        return {
            "examples": jnp.sum(batch["mask"]),
            "values": jnp.sum(batch["mask"]) * target.shape[1],
            "squared": jnp.sum(jnp.square(error)),
            "absolute": jnp.sum(jnp.abs(error)),
            "naive_squared": jnp.sum(jnp.square(naive)),
            "naive_absolute": jnp.sum(jnp.abs(naive)),
        }

    def finish(self, sums: Mapping[str, np.ndarray]) -> dict[str, Any]:
        values, naive = sums["values"], sums["naive_absolute"]
        return {
            "mae": self.scale * sums["absolute"] / values,
            "rmse": self.scale * np.sqrt(sums["squared"] / values),
            "naive_mae": self.scale * naive / values,
            "naive_rmse": self.scale * np.sqrt(sums["naive_squared"] / values),
            "relative_mae": sums["absolute"] / naive if naive > 0 else np.nan,
            "examples": sums["examples"],
        }

    def _naive(
        self, window: Float[Array, "batch time channels"], target: Float[Array, "batch horizon"]
    ) -> Float[Array, "batch horizon"]:
        steps, season = window.shape[1], self.season or 1
        if season > steps:
            raise UserError(f"season={season}: a window has {steps} steps; it needs a whole season")
        # The value of the same place in the last season that the window knows.
        places = steps - season + jnp.arange(target.shape[1]) % season
        return window[:, places, 0]
