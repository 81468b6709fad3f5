"""Forecasts beside naive ones, against scikit-learn, and the loss they are learned by."""

import jax
import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error

from dlresearch.errors import UserError
from dlresearch.evaluation import ForecastingEvaluator
from dlresearch.models import functional
from dlresearch.models.recurrent_forecaster import RecurrentForecaster
from dlresearch.tasks import Forecasting

RNG = np.random.default_rng(0)
WINDOW = RNG.standard_normal((6, 5, 2)).astype(np.float32)
TARGET = RNG.standard_normal((6, 4)).astype(np.float32)
FORECAST = RNG.standard_normal((6, 4)).astype(np.float32)
BATCHES = [
    {"window": WINDOW[:4], "target": TARGET[:4], "mask": np.ones(4, bool)},
    {
        "window": WINDOW[[4, 5, 5, 5]],
        "target": TARGET[[4, 5, 0, 0]],
        "mask": np.array([True, True, False, False]),
    },
]


def evaluated(**options):
    def predict(variables, batch):
        # Of the row that has this target, so that batches may have any rows.
        return variables[(batch["target"][:, None] == TARGET).all(axis=-1).argmax(axis=1)]

    return ForecastingEvaluator(**options).run(predict, FORECAST, BATCHES)


@pytest.mark.parametrize(
    ("season", "places"), [(None, [4, 4, 4, 4]), (1, [4, 4, 4, 4]), (3, [2, 3, 4, 2])]
)
def test_errors_stand_beside_those_of_the_last_season(season, places):
    found = evaluated(season=season, scale=10.0)
    naive = WINDOW[:, places, 0]
    mae, naive_mae = (mean_absolute_error(TARGET, each) for each in (FORECAST, naive))
    assert found == pytest.approx(
        {
            "mae": 10 * mae,
            "rmse": 10 * mean_squared_error(TARGET, FORECAST) ** 0.5,
            "naive_mae": 10 * naive_mae,
            "naive_rmse": 10 * mean_squared_error(TARGET, naive) ** 0.5,
            "relative_mae": mae / naive_mae,
            "examples": 6,
        },
        rel=1e-5,
    )


def test_season_longer_than_a_window_is_a_mistake():
    with pytest.raises(UserError, match="season=6: a window has 5 steps"):
        evaluated(season=6)
    with pytest.raises(UserError, match="season=0: must be at least 1"):
        ForecastingEvaluator(season=0)


def test_loss_is_the_mean_squared_error_over_the_horizon():
    task = Forecasting(
        lambda **context: functional(RecurrentForecaster, width=3, **context), {"horizon": 4}
    )
    batch = {"window": WINDOW, "target": TARGET}
    variables = jax.jit(task.init)(jax.random.key(0), batch)
    (player,) = task.players
    loss, _ = jax.jit(player.loss)(variables.params["model"], variables, batch, jax.random.key(0))
    outputs = jax.jit(task.predict)(variables, batch)
    assert float(loss) == pytest.approx(mean_squared_error(TARGET, outputs), rel=1e-5)


def test_horizon_that_nobody_knows_is_a_mistake():
    with pytest.raises(UserError, match=r"config\.task\.horizon: the training source"):
        Forecasting(lambda **context: None, {})
