"""Learning-rate schedules: the factor on the peak learning rate as a function of the step.

Step s counts updates from 0. A warm-up of n steps gives the factors 1/n, 2/n, ..., 1 to its
updates, so that the first is not wasted on a rate of zero; what follows starts at s = n. A decay
reaches its final factor at s = total_steps, one after the last update, which then counts as well.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from dlresearch.config import Duration

ToSteps: TypeAlias = Callable[[Duration], int]
Factor: TypeAlias = Float[Array, ""]

NO_WARMUP = Duration.parse(0)
WHOLE_RUN = Duration.parse("100%")
HALF = Duration.parse("50%")
THREE_QUARTERS = Duration.parse("75%")
THIRTY_PERCENT = Duration.parse("30%")
TEN_THOUSAND_STEPS = Duration.parse(10_000)


def constant(to_steps: ToSteps, *, warmup: Duration = NO_WARMUP) -> optax.Schedule:
    """1 after the warm-up."""
    return _after_warmup(to_steps(warmup), lambda step: jnp.ones_like(step))


def linear(
    to_steps: ToSteps,
    *,
    warmup: Duration = NO_WARMUP,
    until: Duration = WHOLE_RUN,
    final: float = 0.0,
) -> optax.Schedule:
    """From 1 at the end of the warm-up to `final` on a straight line, which `until` ends."""
    warmup_steps = to_steps(warmup)

    def factor(step: Factor) -> Factor:
        return 1 + (final - 1) * _progress(step, to_steps(until) - warmup_steps)

    return _after_warmup(warmup_steps, factor)


def cosine(
    to_steps: ToSteps,
    *,
    warmup: Duration = NO_WARMUP,
    until: Duration = WHOLE_RUN,
    final: float = 0.0,
) -> optax.Schedule:
    """As `linear`, on half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983, eq. 5)."""
    warmup_steps = to_steps(warmup)

    def factor(step: Factor) -> Factor:
        return _cosine(1.0, final, _progress(step, to_steps(until) - warmup_steps))

    return _after_warmup(warmup_steps, factor)


def step(
    to_steps: ToSteps,
    *,
    milestones: tuple[Duration, ...] = (HALF, THREE_QUARTERS),
    factor: float = 0.1,
    warmup: Duration = NO_WARMUP,
) -> optax.Schedule:
    """`factor` to the power of the number of milestones passed; they count from the run's start."""
    warmup_steps = to_steps(warmup)
    boundaries = jnp.array([to_steps(milestone) for milestone in milestones], jnp.float32)

    def after(step: Factor) -> Factor:
        return factor ** jnp.sum(step + warmup_steps >= boundaries).astype(jnp.float32)

    return _after_warmup(warmup_steps, after)


def one_cycle(
    total_steps: int,
    to_steps: ToSteps,
    *,
    peak: Duration = THIRTY_PERCENT,
    start: float = 0.04,
    final: float = 1e-4,
    anneal: Literal["cosine", "linear"] = "cosine",
) -> optax.Schedule:
    """Up from `start` to 1 until `peak`, then down to `final` (Smith 2018, arXiv:1803.09820).

    The way up is the warm-up: with n steps to the peak, the first update is 1/n of the way from
    `start` to 1 and the n-th is at 1.
    """
    peak_steps = to_steps(peak)
    between = _cosine if anneal == "cosine" else _straight

    def schedule(step: ArrayLike) -> Factor:
        count = jnp.asarray(step, jnp.float32)
        up = between(start, 1.0, _progress(count + 1, peak_steps))
        down = between(1.0, final, _progress(count - peak_steps, total_steps - peak_steps))
        return jnp.where(count < peak_steps, up, down)

    return schedule


def inverse_sqrt(
    to_steps: ToSteps,
    *,
    timescale: Duration = TEN_THOUSAND_STEPS,
    warmup: Duration = NO_WARMUP,
) -> optax.Schedule:
    """sqrt(t / (t + s - n)) after n steps of warm-up, where t is the timescale in steps.

    Independent of the length of the run. With t = n it is sqrt(n / s) (Vaswani et al. 2017,
    arXiv:1706.03762, eq. 3).
    """
    scale = max(to_steps(timescale), 1)
    return _after_warmup(to_steps(warmup), lambda step: jnp.sqrt(scale / (scale + step)))


def _after_warmup(warmup_steps: int, after: Callable[[Factor], Factor]) -> optax.Schedule:
    """The warm-up, then `after` of the number of steps since its end."""

    def schedule(step: ArrayLike) -> Factor:
        count = jnp.asarray(step, jnp.float32)
        ramp = (count + 1) / max(warmup_steps, 1)
        return jnp.where(count < warmup_steps, ramp, after(jnp.maximum(count - warmup_steps, 0)))

    return schedule


def _progress(step: Factor, steps: int) -> Factor:
    """0 to 1. A phase without steps, as in a short trial of a long schedule, counts as one step."""
    return jnp.clip(step / max(steps, 1), 0, 1)


def _straight(start: float, end: float, progress: Factor) -> Factor:
    return start + (end - start) * progress


def _cosine(start: float, end: float, progress: Factor) -> Factor:
    return end + (start - end) * (1 + jnp.cos(jnp.pi * progress)) / 2
