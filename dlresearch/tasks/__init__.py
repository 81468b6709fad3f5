"""What is learned: losses, players, and what a prediction means."""

from dlresearch.tasks.classification import Classification
from dlresearch.tasks.forecasting import Forecasting
from dlresearch.tasks.gan import GAN
from dlresearch.tasks.language_model import LanguageModel
from dlresearch.tasks.music import PolyphonicMusic, frame_nll
from dlresearch.tasks.regression import Regression
from dlresearch.tasks.sampling import check_sampling, sample
from dlresearch.tasks.sequence_classification import SequenceClassification
from dlresearch.tasks.supervised import Supervised, require
from dlresearch.tasks.task import (
    TEACHER,
    Average,
    Batch,
    Hopeless,
    MakeModel,
    Metrics,
    Player,
    Regulariser,
    Task,
    Time,
    Variables,
    fold_in_name,
)
from dlresearch.tasks.translation import Translation

__all__ = [
    "GAN",
    "TEACHER",
    "Average",
    "Batch",
    "Classification",
    "Forecasting",
    "Hopeless",
    "LanguageModel",
    "MakeModel",
    "Metrics",
    "Player",
    "PolyphonicMusic",
    "Regression",
    "Regulariser",
    "SequenceClassification",
    "Supervised",
    "Task",
    "Time",
    "Translation",
    "Variables",
    "check_sampling",
    "fold_in_name",
    "frame_nll",
    "require",
    "sample",
]
