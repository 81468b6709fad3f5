"""Tables in CSV files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dlresearch.data.columns import Encoder, column_of, to_numbers
from dlresearch.data.source import ArraySource
from dlresearch.data.splits import split_rows
from dlresearch.errors import UserError, suggest

_TASKS = ("regression", "classification")


class Table(ArraySource):
    """Rows of a CSV file as numbers a network can take.

    Yields `features` float32 [feature]; with task `regression` also `target` float32, a number, and
    with `classification` `label` int32. Features are in this order: numeric columns, ordinal
    columns, one indicator (0 or 1) for each of both that lacks values in the training rows,
    categorical columns one-hot. Medians, normalisation and categories are those of the training
    rows alone. A category that none of them has is all zeros, and so is a missing one.

    Args:
      path: `.csv`, or compressed `.csv.gz`; the first line names the columns unless `columns` does.
      target: the column to predict. In classification its sorted values are the classes, those of
        the whole file, so that all splits number them alike.
      split: `train`, `test`, or `all`.
      numeric: columns of numbers; None takes all that are numbers and not named otherwise.
      categorical: columns of categories; None takes all the rest.
      ordinal: columns of ordered categories, with their values from first to last; they become
        0, 1, 2, ... and are then standardised (with normalisation `none` they are not).
      held_out: fraction of the rows in `test`.
      split_seed: of the permutation that splits.
      stratified: in classification, hold out that fraction of each class.
      normalisation: of numeric columns: `standard` (mean 0, standard deviation 1), `quantile`
        (to a normal distribution), or `none`.
      target_scale: factor on the target in regression.
      task: `regression` or `classification`.
      missing: `median` fills in missing numbers with the median, `error` refuses them.
      columns: the names of all columns, for a file whose first line is data.

    Raises:
      UserError: whatever is wrong with the file or the arguments.
    """

    def __init__(
        self,
        path: str,
        target: str,
        split: str = "all",
        numeric: tuple[str, ...] | None = None,
        categorical: tuple[str, ...] | None = None,
        ordinal: Mapping[str, tuple[str, ...]] | None = None,
        held_out: float = 0.2,
        split_seed: int = 0,
        stratified: bool = False,
        normalisation: str = "standard",
        target_scale: float = 1.0,
        task: str = "regression",
        missing: str = "median",
        columns: tuple[str, ...] | None = None,
    ):
        file = Path(path).expanduser()
        if task not in _TASKS:
            raise UserError(f"{file}: there is no task {task!r}; {suggest(task, _TASKS)}")
        frame = read_csv(file, columns)
        try:
            roles = _roles(frame, target, numeric, categorical, dict(ordinal or {}))
            labels, classes = _classes(frame, target) if task == "classification" else (None, ())
            if stratified and labels is None:
                raise UserError("stratified=True needs classes; set task=classification")
            strata = labels if stratified else None
            rows, train = split_rows(len(frame), split, held_out, split_seed, strata)
            encoder = Encoder(
                frame.iloc[train],
                numeric=roles.numeric,
                ordinal=roles.ordinal,
                categorical=roles.categorical,
                normalisation=normalisation,
                missing=missing,
            )
            arrays = {"features": encoder(frame.iloc[rows])}
            metadata: dict[str, Any] = {
                "feature_names": encoder.names,
                "num_features": len(encoder.names),
            }
            if labels is not None:
                arrays["label"] = labels[rows]
                metadata |= {"num_classes": len(classes), "class_names": classes}
            else:
                values = to_numbers(_present(column_of(frame, target)))
                arrays["target"] = (values * target_scale).astype(np.float32)[rows]
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
        super().__init__(arrays, metadata)


@dataclass(frozen=True)
class _Roles:
    numeric: tuple[str, ...]
    ordinal: Mapping[str, tuple[str, ...]]
    categorical: tuple[str, ...]


def read_csv(file: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The rows of a CSV file, whose first line names the columns unless `columns` does.

    Raises:
      UserError: it cannot be read, has no rows, or another number of columns.
    """
    try:
        frame = pd.read_csv(file, header="infer" if columns is None else None)
    except FileNotFoundError:
        raise UserError(f"there is no file {file}; set path to a .csv or .csv.gz file") from None
    except (OSError, EOFError, ValueError) as error:  # pandas' own errors are ValueErrors
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read {file} as a CSV file: {reason}") from error
    if columns is not None:
        if len(columns) != frame.shape[1]:
            raise UserError(
                f"{file} has {frame.shape[1]} columns, columns names {len(columns)} of them"
            )
        frame.columns = pd.Index(columns)
    if frame.empty:
        raise UserError(f"{file} has no rows")
    return frame


def _roles(
    frame: pd.DataFrame,
    target: str,
    numeric: Sequence[str] | None,
    categorical: Sequence[str] | None,
    ordinal: Mapping[str, tuple[str, ...]],
) -> _Roles:
    """Which column is what; every column is at most one thing."""
    named = [target, *(numeric or ()), *(categorical or ()), *ordinal]
    for name in named:
        if name not in frame.columns:
            raise UserError(f"there is no column {name!r}; {suggest(name, map(str, frame))}")
        if named.count(name) > 1:
            raise UserError(f"column {name!r} is named twice; leave it in one role only")
    rest = [name for name in frame if name not in named]
    numbers = [name for name in rest if pd.api.types.is_numeric_dtype(frame[name])]
    if numeric is None:
        numeric = numbers
    if categorical is None:
        categorical = [name for name in rest if name not in numbers]
    if not (numeric or categorical or ordinal):
        raise UserError("no column is left to predict from")
    return _Roles(tuple(numeric), ordinal, tuple(categorical))


def _present(column: pd.Series) -> pd.Series:
    if column.isna().any():
        raise UserError(
            f"target {column.name!r} is missing in {int(column.isna().sum())} rows, first in data"
            f" row {int(np.flatnonzero(column.isna())[0]) + 1}; remove them"
        )
    return column


def _classes(frame: pd.DataFrame, target: str) -> tuple[np.ndarray, tuple[str, ...]]:
    column = _present(column_of(frame, target))
    if pd.api.types.is_float_dtype(column) and not np.array_equal(column, np.round(column)):
        raise UserError(f"target {column.name!r} has fractions, no classes; set task=regression")
    classes, labels = np.unique(column.to_numpy(), return_inverse=True)
    return labels.astype(np.int32), tuple(str(name) for name in classes)
