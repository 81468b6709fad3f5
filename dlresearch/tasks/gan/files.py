"""Generated examples as files: a PNG for each, or all of them as arrays."""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped
from PIL import Image

from dlresearch.errors import UserError, suggest
from dlresearch.tasks.task import Variables

FORMATS = ("png", "npz")
_AT_ONCE = 100


def files(
    sample: Callable[
        [Variables, Float[Array, "batch latent"], tuple[Int[Array, " batch"], ...]],
        Shaped[Array, "batch ..."],
    ],
    variables: Variables,
    key: Key[Array, ""],
    *,
    latent: int,
    count: int,
    labels: Int[np.ndarray, " count"] | None,
    format: str,
) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file.

    Args:
      sample: examples from latents and labels, as the source gives examples.
      latent: size of the latents, which are drawn from `key`, each by its number.
      count: how many examples.
      labels: their classes; None for a network without.
      format: one of `FORMATS`.

    Raises:
      UserError: no such format, or pictures of what is no image.
    """
    if format not in FORMATS:
        raise UserError(f"--format: there is no {format!r}; {suggest(format, FORMATS)}")
    made = _batches(sample, variables, key, latent, count, labels)
    if format == "npz":
        content = {"image": np.concatenate(list(made))}
        if labels is not None:
            content["label"] = labels
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **content)
        yield f"{count}.npz", file.getvalue()
        return
    for number, example in enumerate(example for batch in made for example in batch):
        name = "sample" if labels is None else f"class-{labels[number]}"
        yield f"{name}-{number:05d}.png", _png(example)


def labels_of(
    label: str | None, count: int, num_classes: int, names: Sequence[str]
) -> Int[np.ndarray, " count"] | None:
    """The class of each example: all of one, or the classes in turn.

    Args:
      label: a class by name or number; None lets them take turns.
      num_classes: 0 for a network without classes.

    Raises:
      UserError: no such class.
    """
    if label is None:
        return np.arange(count, dtype=np.int32) % num_classes if num_classes else None
    if not num_classes:
        raise UserError("--label: this run has learned no classes (config.task.conditional)")
    if label in names:
        return np.full(count, list(names).index(label), np.int32)
    if label.isdecimal() and int(label) < num_classes:
        return np.full(count, int(label), np.int32)
    known = names or [str(number) for number in range(num_classes)]
    raise UserError(f"--label: there is no class {label!r}; {suggest(label, known)}")


def _batches(
    sample: Callable[..., Shaped[Array, "batch ..."]],
    variables: Variables,
    key: Key[Array, ""],
    latent: int,
    count: int,
    labels: Int[np.ndarray, " count"] | None,
) -> Iterator[Shaped[np.ndarray, "batch ..."]]:
    """In batches of one size, so that one program makes them all."""

    @jax.jit
    def make(variables: Variables, numbers: Array, *label: Array) -> Array:
        keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
        latents = jax.vmap(lambda own: jax.random.normal(own, (latent,)))(keys)
        return sample(variables, latents, label)

    for first in range(0, count, _AT_ONCE):
        numbers = np.arange(first, first + _AT_ONCE)
        rows = np.minimum(numbers, count - 1)
        own = () if labels is None else (jnp.asarray(labels[rows]),)
        made = np.asarray(make(variables, jnp.asarray(numbers), *own))
        yield made[: count - first]


def _png(example: Shaped[np.ndarray, "..."]) -> bytes:
    """Raises UserError for what is no image."""
    if example.ndim != 3 or example.shape[-1] not in (1, 3):
        raise UserError(
            f"--format: an example is no image, but an array {list(example.shape)}; use npz"
        )
    pixels: Any = example
    if example.dtype != np.uint8:  # floating images are between -1 and 1
        pixels = np.clip(np.round((example + 1) * 127.5), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "png")
    return file.getvalue()
