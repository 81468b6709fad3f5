"""Classification of texts: one of several classes a sequence of tokens."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from dlresearch.errors import UserError
from dlresearch.tasks.classification import Classification
from dlresearch.tasks.task import MakeModel


class SequenceClassification(Classification):
    """`classification` whose model reads tokens and how many of them there are.

    Args:
      make_model: from the trainer; the model gets `num_outputs`, the number of classes, and
        `vocabulary_size`.
      metadata: of the training source, from the trainer.
      inputs: keys of the batch that the model reads: first the tokens [batch, time], padded, then
        how many of them are valid [batch].
      labels: as in `classification`.
      num_classes: as in `classification`.
      label_smoothing: as in `classification`.
      class_weights: as in `classification`.
      focal_gamma: as in `classification`.
      logit_adjustment: as in `classification`.
      class_counts: as in `classification`.

    Raises:
      UserError: the training source has no vocabulary for the tokens; or as in `classification`.
    """

    def __init__(
        self,
        make_model: MakeModel,
        metadata: Mapping[str, Any],
        inputs: tuple[str, ...] = ("tokens", "length"),
        labels: str = "label",
        num_classes: int | None = None,
        label_smoothing: float = 0.0,
        class_weights: tuple[float, ...] | str | None = None,
        focal_gamma: float = 0.0,
        logit_adjustment: float = 0.0,
        class_counts: tuple[int, ...] | None = None,
    ):
        vocabularies, tokens = metadata.get("vocabularies", {}), inputs[0]
        if tokens not in vocabularies:
            raise UserError(
                f"config.task.inputs: the training source has no vocabulary for {tokens!r}; use a"
                " source of texts, such as labelled_text"
            )
        super().__init__(
            partial(make_model, vocabulary_size=len(vocabularies[tokens])),
            metadata,
            inputs=inputs,
            labels=labels,
            num_classes=num_classes,
            label_smoothing=label_smoothing,
            class_weights=class_weights,
            focal_gamma=focal_gamma,
            logit_adjustment=logit_adjustment,
            class_counts=class_counts,
        )
