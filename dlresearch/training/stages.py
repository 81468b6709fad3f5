"""Parts of a run that differ in the size of their images: progressive resolution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Array

from dlresearch.config import Duration
from dlresearch.data import resized
from dlresearch.errors import UserError
from dlresearch.training.step import Step


@dataclass(frozen=True)
class Stage:
    """The steps from `start` on, until the next stage."""

    start: int
    step: Step


@dataclass(frozen=True)
class Sizes:
    """From which step on training images have which height and width; None is as they come."""

    pairs: tuple[tuple[int, int | None], ...]

    @staticmethod
    def of(
        resolution: Sequence[tuple[Duration, int]], to_steps: Callable[[Duration], int]
    ) -> "Sizes":
        """Those of `config.data.resolution`.

        Raises:
          UserError: they do not begin at 0, or are not in order, or a size is no size.
        """
        path = "config.data.resolution"
        pairs: list[tuple[int, int | None]] = []
        for index, (when, pixels) in enumerate(resolution):
            start = to_steps(when)
            if index == 0 and start > 0:
                raise UserError(f"{path}.0: {when} is not the start; begin with 0")
            if pairs and start < pairs[-1][0]:
                raise UserError(f"{path}.{index}: {when} is before the one in front of it")
            if pixels < 1:
                raise UserError(f"{path}.{index}: {pixels} pixels; must be at least 1")
            if pairs and start == pairs[-1][0]:
                pairs.pop()  # in a short trial of a long run
            pairs.append((start, pixels))
        return Sizes(tuple(pairs) or ((0, None),))


def at_size(batch: dict[str, Array], pixels: int | None) -> dict[str, Array]:
    """The batch with images of this height and width."""
    if pixels is None:
        return batch
    if "image" not in batch:
        raise UserError("config.data.resolution: the batch has no 'image'")
    return {**batch, "image": resized(batch["image"], pixels)}


def stage_at(stages: Sequence[Stage], step: int) -> Stage:
    """The one that a step belongs to."""
    return next(stage for stage in reversed(stages) if stage.start <= step)
