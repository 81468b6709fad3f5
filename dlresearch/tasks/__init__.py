"""What is learned: losses, players, and what a prediction means."""

from dlresearch.tasks.classification import Classification
from dlresearch.tasks.regression import Regression
from dlresearch.tasks.supervised import Supervised, require
from dlresearch.tasks.task import (
    Average,
    Batch,
    MakeModel,
    Metrics,
    Player,
    Task,
    Variables,
    fold_in_name,
)

__all__ = [
    "Average",
    "Batch",
    "Classification",
    "MakeModel",
    "Metrics",
    "Player",
    "Regression",
    "Supervised",
    "Task",
    "Variables",
    "fold_in_name",
    "require",
]
