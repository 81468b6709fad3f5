"""Forecasting: the values of a series that follow a window of it."""

from collections.abc import Mapping
from typing import Any

from dlresearch.errors import UserError
from dlresearch.tasks.regression import Regression
from dlresearch.tasks.task import MakeModel


class Forecasting(Regression):
    """`regression` on several values at once, one for each step of the horizon.

    Args:
      make_model: from the trainer; the model gets `num_outputs`, the steps of the horizon.
      metadata: of the training source, from the trainer.
      inputs: key of the windows [batch, time, channels].
      target: key of the values after them [batch, horizon].
      horizon: steps to forecast; None takes what the training source says.
      huber_delta: as in `regression`.

    Raises:
      UserError: nobody knows the horizon.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        inputs: str | tuple[str, ...] = "window",
        target: str = "target",
        horizon: int | None = None,
        huber_delta: float | None = None,
    ):
        horizon = metadata.get("horizon") if horizon is None else horizon
        if horizon is None:
            raise UserError(
                "config.task.horizon: the training source does not say how many steps to forecast;"
                " set it, or use the source series"
            )

        super().__init__(make_model, inputs, target, horizon, huber_delta)
