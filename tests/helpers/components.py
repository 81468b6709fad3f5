"""Small components that the tests of the configuration name."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from flax import nnx

from dlresearch.config import Component, Duration
from dlresearch.errors import UserError


@dataclass
class Net:
    num_outputs: int
    width: int = 8
    widths: tuple[int, ...] = (8, 8)
    dropout: float = 0.0
    bias: bool = True
    activation: str = "relu"
    norm: str | None = None
    padding: Literal["same", "valid"] = "same"
    shape: tuple[int, float] = (1, 0.5)
    dtype: Any = None


class OtherNet:
    def __init__(self, depth: int = 2, dtype: Any = None):
        self.depth = depth
        self.dtype = dtype


class Linen(nn.Module):
    width: int = 3

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.width)(x)


class Nnx(nnx.Module):
    def __init__(self, width: int = 3, *, rngs: nnx.Rngs):
        self.layer = nnx.Linear(2, width, rngs=rngs)


class Source:
    def __init__(self, split: str = "train", keys: tuple[str, ...] | None = None):
        self.split = split
        self.keys = keys


class OtherSource:
    def __init__(self, path: Path | str = "", limit: int | None = None):
        self.path = path
        self.limit = limit


class Flip:
    def __init__(self, probability: float = 0.5):
        self.probability = probability


class Crop:
    def __init__(self, padding: int = 2, key: str = "image"):
        self.padding = padding
        self.key = key


class Apply:
    def __init__(self, inner: tuple[Component, ...], every: Duration, weights: Mapping[str, float]):
        self.inner = inner
        self.every = every
        self.weights = weights


class Task:
    def __init__(self, label_smoothing: float = 0.0):
        self.label_smoothing = label_smoothing


class Evaluate:
    def __init__(self, top: Sequence[int] = (1,), batch_size: int = 1):
        self.top = top


class OtherEvaluate:
    pass


class Anything:
    def __init__(self, **options: Any):
        self.options = options


class Strict:
    def __init__(self, size: int):
        if size < 1:
            raise UserError("size must be at least 1")


class Untyped:
    def __init__(self, a, b=None, dtype=jnp.float32):
        self.a, self.b = a, b


def sgd(learning_rate, decay_mask, weight_decay, *, momentum: float = 0.9, nesterov: bool = False):
    return ("sgd", learning_rate, decay_mask, weight_decay, momentum, nesterov)


@functools.wraps(sgd)
def wrapped(*args: Any, **kwargs: Any):
    return sgd(*args, **kwargs)


def adam(learning_rate, decay_mask, weight_decay, *, b1: float = 0.9):
    return ("adam", learning_rate, b1)


def constant(peak, total_steps, *, warmup: Duration = Duration(0, "steps")):  # noqa: B008
    return (peak, total_steps, warmup)


not_callable = 3
