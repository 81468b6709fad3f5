"""From indices to a batch: read, transform, stack."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dlresearch.data.source import Arrays, Example, Source, check_labels
from dlresearch.data.transforms import Transform
from dlresearch.errors import UserError

# What JAX would make of 64 bits on the device; half as much to send.
_DEVICE_TYPES: Mapping[np.dtype, type] = {
    np.dtype(np.int64): np.int32,
    np.dtype(np.uint64): np.uint32,
    np.dtype(np.float64): np.float32,
}


def is_random(transform: Transform) -> bool:
    """Whether a transform draws numbers; one that does not say so might."""
    return getattr(transform, "random", True)


def read_batch(
    source: Source,
    transforms: Sequence[Transform],
    indices: Sequence[int] | np.ndarray,
    make_rng: Callable[[int], np.random.Generator],
) -> Arrays:
    """The examples at `indices`, transformed and stacked by key.

    Args:
      source: where they come from.
      transforms: applied to each example in this order.
      indices: which examples.
      make_rng: the generator for the example in this row; called where a transform is random.

    Raises:
      UserError: examples that do not stack, a label out of range, or what the source raises.
    """
    if not transforms and (arrays := stacked(source)) is not None:
        batch = {key: np.asarray(array[indices]) for key, array in arrays.items()}
    else:
        examples = _examples(source, indices)
        if transforms:
            rngs = [is_random(transform) for transform in transforms]
            for row, example in enumerate(examples):
                rng = make_rng(row) if any(rngs) else None
                for transform, wants in zip(transforms, rngs, strict=True):
                    example = transform(example, rng if wants else None)
                examples[row] = example
        batch = _stack(source, indices, examples)
    batch = {key: for_device(key, array) for key, array in batch.items()}
    check_batch(source, batch)
    return batch


def stacked(source: Source) -> Arrays | None:
    """All examples by key, if the source holds them so."""
    arrays = getattr(source, "arrays", None)
    return None if arrays is None else arrays()


def check_batch(source: Source, batch: Mapping[str, np.ndarray]) -> None:
    """Refuse labels that are not among the classes the source says it has."""
    num_classes = getattr(source, "metadata", {}).get("num_classes")
    label = batch.get("label")
    if num_classes is not None and label is not None and label.dtype.kind in "iu":
        check_labels(label, num_classes, type(source).__name__)


def for_device(key: str, array: np.ndarray) -> np.ndarray:
    """The array with 32 bits where it has 64.

    Raises:
      UserError: no numbers, or an integer that needs 64 bits.
    """
    if not _is_numbers(array):
        raise UserError(
            f"{key!r} is of type {array.dtype}, which no device can hold; leave it out with select,"
            " or make it numbers with a transform"
        )
    to = _DEVICE_TYPES.get(array.dtype)
    if to is None:
        return array
    if array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(to)
        if array.min() < limits.min or array.max() > limits.max:
            raise UserError(f"{key!r} has integers beyond 32 bits; leave it out with select")
    return array.astype(to)


def _examples(source: Source, indices: Sequence[int] | np.ndarray) -> list[Example]:
    read_many = getattr(source, "__getitems__", None)
    if read_many is not None:
        return list(read_many([int(index) for index in indices]))
    return [source[int(index)] for index in indices]


def _stack(source: Source, indices: Sequence[int] | np.ndarray, examples: list[Example]) -> Arrays:
    batch = {}
    for key in examples[0]:
        values = []
        for row, example in enumerate(examples):
            if example.keys() != examples[0].keys():
                raise UserError(
                    f"{name_of(source, indices[row])} has the keys {sorted(example)}, and"
                    f" {name_of(source, indices[0])} {sorted(examples[0])}; all must have the same"
                )
            values.append(_array(key, example[key], source, indices[row]))
        first = values[0]
        for row, value in enumerate(values):
            if value.shape != first.shape or value.dtype != first.dtype:
                raise mismatch(
                    key,
                    (name_of(source, indices[0]), first),
                    (name_of(source, indices[row]), value),
                )
        batch[key] = np.stack(values)
    return batch


def _array(key: str, value: Any, source: Source, index: int) -> np.ndarray:
    array = np.asarray(value)
    if not _is_numbers(array):
        raise UserError(
            f"{key!r} of {name_of(source, index)} is {type(value).__name__}, which no device can"
            " hold; leave it out with select, or make it numbers with a transform"
        )
    return array


def _is_numbers(array: np.ndarray) -> bool:
    return array.dtype.kind in "biufV"  # V: bfloat16 and its like


def mismatch(key: str, first: tuple[str, np.ndarray], other: tuple[str, np.ndarray]) -> UserError:
    """The error of two examples (what to call them, their array) that do not stack."""
    if first[1].shape != other[1].shape:
        remedy = (
            "add the transform resize, or set the source's size" if key == "image" else "pad them"
        )
        kinds = f"shape {first[1].shape}", f"{other[1].shape}"
    else:
        remedy = "convert them"
        kinds = f"type {first[1].dtype}", f"{other[1].dtype}"
    return UserError(
        f"{key!r} has {kinds[0]} in {first[0]} and {kinds[1]} in {other[0]}, so they cannot be"
        f" one batch; {remedy}"
    )


def name_of(source: Source, index: int) -> str:
    """What a message calls an example."""
    describe = getattr(source, "describe", None)
    if describe is not None:
        return describe(int(index))
    return f"example {int(index)} of {type(source).__name__}"
