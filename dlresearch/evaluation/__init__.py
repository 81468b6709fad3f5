"""Evaluators: from predictions over a set of examples to named numbers, and files."""

from dlresearch.evaluation.classification import ClassificationEvaluator
from dlresearch.evaluation.evaluator import (
    Evaluator,
    Finding,
    Gathered,
    Predict,
    Summed,
    TracedOnly,
    trace_only,
)
from dlresearch.evaluation.forecasting import ForecastingEvaluator
from dlresearch.evaluation.music import PolyphonicMusicEvaluator
from dlresearch.evaluation.probabilities import ProbabilitiesEvaluator
from dlresearch.evaluation.regression import RegressionEvaluator
from dlresearch.evaluation.sources import source_in_words
from dlresearch.evaluation.translation import TranslationEvaluator
from dlresearch.evaluation.views import OverViews, Views

__all__ = [
    "ClassificationEvaluator",
    "Evaluator",
    "Finding",
    "ForecastingEvaluator",
    "Gathered",
    "OverViews",
    "PolyphonicMusicEvaluator",
    "Predict",
    "ProbabilitiesEvaluator",
    "RegressionEvaluator",
    "Summed",
    "TracedOnly",
    "TranslationEvaluator",
    "Views",
    "source_in_words",
    "trace_only",
]
