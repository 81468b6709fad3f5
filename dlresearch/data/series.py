"""Windows of a time series, and the values that follow them."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from dlresearch.data.columns import column_of, to_numbers
from dlresearch.data.source import ArraySource
from dlresearch.data.splits import SPLITS
from dlresearch.data.table import read_csv
from dlresearch.errors import UserError, located, suggest


class Windows(ArraySource):
    """Every window of a series, with what follows it; `Series` describes them.

    Args:
      values: the first channel is forecast.
      split, window, horizon, held_out: as in `Series`.

    Raises:
      UserError: the series is too short for a window, or a number that cannot be.
    """

    def __init__(
        self,
        values: Float[np.ndarray, "time channels"],
        split: str,
        window: int,
        horizon: int,
        held_out: float,
    ):
        if split not in SPLITS:
            raise UserError(f"there is no split {split!r}; {suggest(split, SPLITS)}")
        for name, number in {"window": window, "horizon": horizon}.items():
            if number < 1:
                raise UserError(f"{name}={number}: must be at least 1")
        if not 0 <= held_out < 1:
            raise UserError(f"held_out={held_out} is not in [0, 1)")
        # The first step that is to be forecast in the test split alone.
        border = len(values) - round(held_out * len(values))
        mean, std = values[:border].mean(axis=0), values[:border].std(axis=0)
        scale = np.where(std > 0, std, 1.0)  # a constant channel becomes 0
        normal = ((values - mean) / scale).astype(np.float32)
        first = {"train": window, "test": max(border, window), "all": window}[split]
        end = border if split == "train" else len(values)
        targets = np.arange(first, end - horizon + 1)
        if not len(targets):
            raise UserError(
                f"a series of {len(values)} steps, {border} of them for training, has no window of"
                f" {window} steps and {horizon} after it in {split!r}; make them smaller"
            )
        super().__init__(
            {
                "window": normal[targets[:, None] + np.arange(-window, 0)],
                "target": normal[targets[:, None] + np.arange(horizon), 0],
            },
            {"horizon": horizon, "scale": float(scale[0]), "offset": float(mean[0])},
        )


class Series(Windows):
    """A column of a CSV file as a series, to forecast from windows of it.

    Yields `window` float32 [window, channels] and `target` float32 [horizon], the values of the
    first channel in the steps after it. Rows are steps of equal length, oldest first. Channels have
    mean 0 and standard deviation 1 in the training part.

    The series is split by time: `test` are the windows whose target lies wholly in the last part;
    they may reach back into the first. No training window or target reaches into the last part.

    Args:
      path: `.csv`, or compressed `.csv.gz`; the first line names the columns.
      target: the column to forecast, the first channel.
      inputs: further columns that the windows have as channels.
      split: `train`, `test`, or `all`.
      window: steps that the model reads.
      horizon: steps after them that it forecasts.
      held_out: fraction of the steps, the last, that `test` forecasts.

    Raises:
      UserError: whatever is wrong with the file or the arguments.
    """

    def __init__(
        self,
        path: str,
        target: str,
        inputs: tuple[str, ...] = (),
        split: str = "all",
        window: int = 48,
        horizon: int = 1,
        held_out: float = 0.2,
    ):
        file = Path(path).expanduser()
        frame = read_csv(file)
        with located(str(file)):
            values = np.stack([_column(frame, name) for name in (target, *inputs)], axis=1)
            super().__init__(values, split, window, horizon, held_out)


class Waves(Windows):
    """A made-up series that needs no download: two waves, a slow trend and noise.

    Yields what `Series` does, with one channel. The waves have periods of 24 and 168 steps, as
    hourly measurements have that follow the day and the week, the shorter with an amplitude that
    the longer changes; the noise is autoregressive.

    Args:
      length: steps of the series.
      split: `train`, `test`, or `all`.
      window: steps that the model reads.
      horizon: steps after them that it forecasts.
      held_out: fraction of the steps, the last, that `test` forecasts.
      noise: standard deviation of what is new in the noise of each step.
      seed: of the noise.
    """

    def __init__(
        self,
        length: int = 4000,
        split: str = "all",
        window: int = 48,
        horizon: int = 1,
        held_out: float = 0.2,
        noise: float = 0.1,
        seed: int = 0,
    ):
        if length < 2 or noise < 0 or seed < 0:
            raise UserError(
                f"length={length}, noise={noise}, seed={seed}: make two steps at least, and neither"
                " noise nor seed negative"
            )
        super().__init__(_waves(length, noise, seed)[:, None], split, window, horizon, held_out)


def _waves(length: int, noise: float, seed: int) -> Float[np.ndarray, " length"]:
    step = np.arange(length)
    week = np.sin(2 * np.pi * step / 168)
    day = np.sin(2 * np.pi * step / 24) * (1 + 0.5 * week)
    new = noise * np.random.default_rng(seed).standard_normal(length)
    kept = np.empty(length)
    last = 0.0
    for index, value in enumerate(new):
        kept[index] = last = 0.8 * last + value
    return day + 0.5 * week + 0.0002 * step + kept


def _column(frame: pd.DataFrame, name: str) -> Float[np.ndarray, " row"]:
    if name not in frame.columns:
        raise UserError(f"there is no column {name!r}; {suggest(name, map(str, frame))}")
    values = to_numbers(column_of(frame, name))
    if missing := np.flatnonzero(np.isnan(values)).tolist():
        raise UserError(
            f"column {name!r} is missing in {len(missing)} rows, first in data row"
            f" {missing[0] + 1}; fill them, as a series has no gaps"
        )
    return values
