"""What an evaluator may know of sources: its own, and others it compares with."""

from collections.abc import Iterator
from typing import Protocol

from dlresearch.config import Component
from dlresearch.tasks import Batch


class Examples(Protocol):
    """The examples of a source as evaluation batches."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...


def source_in_words(source: Component) -> str:
    """Such as `tfds mnist test`: its name and what it is told, without paths."""
    told = [str(value) for key, value in source.arguments.items() if key in ("dataset", "split")]
    return " ".join([source.name, *told])
