"""Columns of a table as features: fitted on training rows, applied to any."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from sklearn.preprocessing import QuantileTransformer

from dlresearch.errors import UserError, suggest

NORMALISATIONS = ("standard", "quantile", "none")
MISSING = ("median", "error")
_MAX_QUANTILES = 1000  # scikit-learn's default


class Encoder:
    """Turns rows into features float32 [row, feature], named by `names`.

    Args:
      train: the rows that statistics and categories come from.
      numeric, ordinal, categorical, normalisation, missing: as in `Table`.

    Raises:
      UserError: a value that does not fit its column, or an unknown choice.
    """

    def __init__(
        self,
        train: pd.DataFrame,
        *,
        numeric: Sequence[str],
        ordinal: Mapping[str, Sequence[str]],
        categorical: Sequence[str],
        normalisation: str,
        missing: str,
    ):
        for name, value, valid in (
            ("normalisation", normalisation, NORMALISATIONS),
            ("missing", missing, MISSING),
        ):
            if value not in valid:
                raise UserError(f"there is no {name} {value!r}; {suggest(value, valid)}")
        self._numeric, self._ordinal = tuple(numeric), dict(ordinal)
        self._may_fill = missing == "median"
        numbers, absent = self._numbers(train)
        if empty := [n for n, a in zip(self._scalars, absent.T, strict=True) if a.all()]:
            raise UserError(f"column {empty[0]!r} has no value in the training rows; leave it out")
        self._median = np.nanmedian(numbers, axis=0)
        self._indicated = absent.any(axis=0)
        numbers = np.where(absent, self._median, numbers)
        self._categories = {
            name: sorted(train[name].dropna().astype(str).unique()) for name in categorical
        }
        # The ordinal columns are never mapped to quantiles: of a few values that makes a mess.
        self._quantiles = None
        count = len(self._numeric) if normalisation == "quantile" else 0
        if count:
            self._quantiles = QuantileTransformer(
                n_quantiles=min(_MAX_QUANTILES, len(train)),
                output_distribution="normal",
                subsample=max(len(train), 2),  # all
            ).fit(numbers[:, :count])
        self._mean, self._std = np.zeros(numbers.shape[1]), np.ones(numbers.shape[1])
        if normalisation != "none":
            self._mean[count:] = numbers[:, count:].mean(axis=0)
            std = numbers[:, count:].std(axis=0)
            self._std[count:] = np.where(std > 0, std, 1.0)  # a constant column becomes 0
        indicators = np.asarray(self._scalars, dtype=object)[self._indicated]
        self.names: tuple[str, ...] = (
            *self._scalars,
            *(f"{name} missing" for name in indicators),
            *(f"{name}={value}" for name, values in self._categories.items() for value in values),
        )

    def __call__(self, rows: pd.DataFrame) -> Float[np.ndarray, "row feature"]:
        numbers, absent = self._numbers(rows)
        numbers = np.where(absent, self._median, numbers)
        if self._quantiles is not None:
            count = len(self._numeric)
            numbers[:, :count] = self._quantiles.transform(numbers[:, :count])
        parts = [(numbers - self._mean) / self._std, absent[:, self._indicated]]
        for name, values in self._categories.items():
            parts.append(rows[name].astype(str).to_numpy()[:, None] == np.asarray(values))
        return np.concatenate([part.astype(np.float32) for part in parts], axis=1)

    @property
    def _scalars(self) -> tuple[str, ...]:
        return (*self._numeric, *self._ordinal)

    def _numbers(
        self, rows: pd.DataFrame
    ) -> tuple[Float[np.ndarray, "row scalar"], Bool[np.ndarray, "row scalar"]]:
        """Numeric and ordinal columns in float64, and where they lack a value."""
        columns = [to_numbers(column_of(rows, name)) for name in self._numeric]
        columns += [_ranks(column_of(rows, name), values) for name, values in self._ordinal.items()]
        if not columns:
            return np.zeros((len(rows), 0)), np.zeros((len(rows), 0), bool)
        numbers = np.stack(columns, axis=1)
        absent = np.isnan(numbers)
        if absent.any() and not self._may_fill:
            name = self._scalars[int(np.flatnonzero(absent.any(axis=0))[0])]
            raise UserError(f"column {name!r} lacks values; fill them in, or set missing=median")
        return numbers, absent


def column_of(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column, of which there is one, as pandas does not promise."""
    return cast(pd.Series, frame[name])


def to_numbers(column: pd.Series) -> Float[np.ndarray, " row"]:
    """A column as float64, NaN where a value is missing.

    Raises:
      UserError: a value that is no number, or is infinite.
    """
    parsed = cast(pd.Series, pd.to_numeric(column, errors="coerce"))
    numbers = parsed.to_numpy(np.float64, na_value=np.nan)
    wrong = np.isinf(numbers) | (np.isnan(numbers) & ~column.isna().to_numpy())
    if wrong.any():
        value = column.to_numpy()[wrong][0]
        raise UserError(f"column {column.name!r} has {value!r}, which is no finite number")
    return numbers


def _ranks(column: pd.Series, values: Sequence[str]) -> Float[np.ndarray, " row"]:
    ranks = {str(value): float(rank) for rank, value in enumerate(values)}
    present = column.dropna().astype(str)
    for value in present.unique():
        if value not in ranks:
            raise UserError(
                f"ordinal column {column.name!r} has the value {value!r}, which its list lacks;"
                f" {suggest(value, ranks)}"
            )
    return present.map(ranks).reindex(column.index).to_numpy(np.float64, na_value=np.nan)
