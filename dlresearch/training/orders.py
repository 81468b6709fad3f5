"""Which order of training a config and its source ask for."""

from collections.abc import Mapping
from typing import Any

from dlresearch.config import Experiment
from dlresearch.data import (
    BucketedOrder,
    Buckets,
    OversampledOrder,
    Oversampling,
    SequentialOrder,
    TrainingOrder,
)
from dlresearch.errors import UserError, located


def make_order(
    experiment: Experiment,
    source: Any,
    metadata: Mapping[str, Any],
    examples_per_step: int,
    oversampling: Oversampling | None,
) -> TrainingOrder:
    """The examples of every step.

    Raises:
      UserError: streams of one text, and something that would mix them.
    """
    seed_and_step = experiment.seed, examples_per_step
    streams, widths = metadata.get("streams"), experiment.data.buckets
    if streams is not None:
        if oversampling is not None or widths:
            raise UserError(
                f"config.data.{'buckets' if widths else 'oversample'}: the source cuts one text in"
                " streams, whose windows follow each other; leave it out, or streams"
            )
        if streams != examples_per_step:
            raise UserError(
                f"config.data.source.streams: {streams}, and a step reads {examples_per_step}"
                " examples, one of each stream; make them equal"
            )
        return SequentialOrder(len(source), *seed_and_step)
    order = (
        TrainingOrder(len(source), *seed_and_step)
        if oversampling is None
        else OversampledOrder(oversampling, *seed_and_step)
    )
    if not widths:
        return order
    with located("config.data.buckets"):
        return BucketedOrder(order, Buckets(source, widths))
