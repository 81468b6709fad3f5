"""Where examples come from and how they become batches: sources, host transforms, the order of
training, loading, and augmentations on the device."""

from dlresearch.data.augmentations import Augmentation, apply_all, resized
from dlresearch.data.buckets import BucketedOrder, Buckets
from dlresearch.data.loader import Stream, evaluation_batches, load_all, stream
from dlresearch.data.order import EPOCH, EXAMPLE, SequentialOrder, TrainingOrder
from dlresearch.data.oversampling import OversampledOrder, Oversampling, labels_of
from dlresearch.data.source import (
    Arrays,
    ArraySource,
    Example,
    Source,
    check_labels,
)
from dlresearch.data.transforms import Transform
from dlresearch.data.views import FIRST, LOCAL, SECOND, Views, make_views
from dlresearch.data.vocabulary import Vocabulary, load_vocabulary

__all__ = [
    "EPOCH",
    "EXAMPLE",
    "FIRST",
    "LOCAL",
    "SECOND",
    "ArraySource",
    "Arrays",
    "Augmentation",
    "BucketedOrder",
    "Buckets",
    "Example",
    "OversampledOrder",
    "Oversampling",
    "SequentialOrder",
    "Source",
    "Stream",
    "TrainingOrder",
    "Transform",
    "Views",
    "Vocabulary",
    "apply_all",
    "check_labels",
    "evaluation_batches",
    "labels_of",
    "load_all",
    "load_vocabulary",
    "make_views",
    "resized",
    "stream",
]
