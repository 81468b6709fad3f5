"""Evaluators of what generates: pictures, and figures for quality and variety."""

from dlresearch.evaluation.gan.accuracy_score import ClassificationAccuracyScoreEvaluator
from dlresearch.evaluation.gan.discriminator import DiscriminatorEvaluator
from dlresearch.evaluation.gan.extractors import Extractor, open_extractor
from dlresearch.evaluation.gan.modes import ModesEvaluator
from dlresearch.evaluation.gan.neighbours import NearestNeighboursEvaluator
from dlresearch.evaluation.gan.outputs import generated
from dlresearch.evaluation.gan.pictures import SamplesEvaluator
from dlresearch.evaluation.gan.quality import SampleQualityEvaluator

__all__ = [
    "ClassificationAccuracyScoreEvaluator",
    "DiscriminatorEvaluator",
    "Extractor",
    "ModesEvaluator",
    "NearestNeighboursEvaluator",
    "SampleQualityEvaluator",
    "SamplesEvaluator",
    "generated",
    "open_extractor",
]
