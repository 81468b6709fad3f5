"""The most likely sequence that a model has for an input: greedy and beam search.

Both are for a batch, inside `jax.jit`, with static shapes; they end when all sentences have. What
else is in the batch changes no sentence's outcome, but for the rounding of matrix products.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

Step = Callable[[PyTree, Int[Array, " rows"]], tuple[PyTree, Float[Array, "rows outputs"]]]
"""From the state of all rows and their last tokens: the next state, and logits."""

_IMPOSSIBLE = -1e30  # the logarithm of a probability of 0 that can be added to another one


class Symbols(NamedTuple):
    """The ids that have a meaning of their own; padding and beginning are never predicted."""

    pad: int
    bos: int
    eos: int


class Hypotheses(NamedTuple):
    """A sequence for each sentence of a batch.

    Attributes:
      tokens: the tokens and, where it ended, the end; then padding.
      log_prob: of these tokens together, natural.
      scores: `log_prob / length_penalty`, what beam search compares.
    """

    tokens: Int[Array, "batch length"]
    log_prob: Float[Array, " batch"]
    scores: Float[Array, " batch"]


def length_penalty(length: Array | int, alpha: float) -> Float[Array, "..."]:
    """((5 + length) / 6)^alpha, the end counted (Wu et al. 2016, arXiv:1609.08144, eq. 14)."""
    return ((5.0 + jnp.asarray(length, jnp.float32)) / 6.0) ** alpha


def greedy(
    step: Step, state: PyTree, batch: int, symbols: Symbols, max_length: int, alpha: float
) -> Hypotheses:
    """The most likely token at every step.

    Args:
      step: of the model.
      state: before the first token, arrays [batch, ...].
      batch: how many sentences.
      symbols: the ids that end and fill up.
      max_length: tokens after which a sentence is cut off; the end counts.
      alpha: of the length penalty; here it changes only `scores`.
    """

    def body(loop: Any) -> Any:
        at, state, last, tokens, log_prob, done = loop
        state, logits = step(state, last)
        log_probs = _log_probs(logits, symbols)
        best = jnp.argmax(log_probs, axis=-1)
        chosen = jnp.take_along_axis(log_probs, best[:, None], axis=1)[:, 0]
        last = jnp.where(done, symbols.pad, best).astype(jnp.int32)
        log_prob = log_prob + jnp.where(done, 0, chosen)
        tokens = jax.lax.dynamic_update_slice(tokens, last[:, None], (0, at))
        return at + 1, state, last, tokens, log_prob, done | (last == symbols.eos)

    start = (
        0,
        state,
        jnp.full(batch, symbols.bos, jnp.int32),
        jnp.full((batch, max_length), symbols.pad, jnp.int32),
        jnp.zeros(batch),
        jnp.zeros(batch, bool),
    )
    *_, tokens, log_prob, _ = jax.lax.while_loop(
        lambda loop: (loop[0] < max_length) & ~jnp.all(loop[-1]), body, start
    )
    lengths = jnp.sum(tokens != symbols.pad, axis=1)
    return Hypotheses(tokens, log_prob, log_prob / length_penalty(lengths, alpha))


class _Search(NamedTuple):
    """Beam search after `at` tokens: `beam` hypotheses a sentence that go on, and the best that
    ended.
    """

    at: Int[Array, ""]
    state: PyTree  # arrays [batch * beam, ...]
    tokens: Int[Array, "batch beam length"]
    log_prob: Float[Array, "batch beam"]
    best: Hypotheses
    ended: Int[Array, " batch"]
    done: Bool[Array, " batch"]


def beam_search(
    step: Step,
    state: PyTree,
    batch: int,
    symbols: Symbols,
    max_length: int,
    alpha: float,
    beam: int,
) -> Hypotheses:
    """The best-scored of the sequences that a beam finds.

    At each step the `2 * beam` most likely continuations of a sentence's hypotheses are looked at:
    of the first `beam`, those with an end have ended, and the first `beam` without one go on. A
    sentence is done when `beam` hypotheses have ended, or none that goes on can be scored better
    than the best that has. A sentence of which nothing has ended after `max_length` tokens takes
    the most likely beginning. A beam of 1 is greedy search.

    Args:
      step: of the model.
      state: before the first token, arrays [batch * beam, ...], of each sentence `beam` times.
      batch: how many sentences.
      symbols: the ids that end and fill up.
      max_length: tokens after which a sentence is cut off; the end counts.
      alpha: of the length penalty, not negative.
      beam: hypotheses of a sentence.
    """
    rows = jnp.arange(batch)[:, None]

    def body(search: _Search) -> _Search:
        at = search.at
        previous = jnp.where(
            at == 0, symbols.bos, jnp.take(search.tokens, jnp.maximum(at - 1, 0), axis=2)
        )
        state, logits = step(search.state, previous.reshape(-1))
        outputs = logits.shape[-1]
        log_probs = _log_probs(logits, symbols).reshape(batch, beam, outputs)
        totals = (search.log_prob[..., None] + log_probs).reshape(batch, -1)
        # Of no more than `beam` candidates does each of two have to be there.
        log_prob, candidates = jax.lax.top_k(totals, min(2 * beam, beam * outputs))
        origin, token = candidates // outputs, (candidates % outputs).astype(jnp.int32)
        tokens = jax.lax.dynamic_update_slice(
            search.tokens[rows, origin], token[..., None], (0, 0, at)
        )
        ends = token == symbols.eos
        scores = log_prob / length_penalty(at + 1, alpha)

        now = ends & (jnp.arange(ends.shape[1]) < beam) & (log_prob > _IMPOSSIBLE / 2)
        first = jnp.argmax(now, axis=1)  # candidates are in order, so it is the best of them
        found = Hypotheses(*(each[rows[:, 0], first] for each in (tokens, log_prob, scores)))
        better = now.any(axis=1) & (found.scores > search.best.scores) & ~search.done
        best = _chosen(better, found, search.best)
        ended = search.ended + jnp.sum(now, axis=1)

        _, going = jax.lax.top_k(-(jnp.arange(ends.shape[1]) + 2 * beam * ends), beam)
        log_prob = jnp.where(ends, _IMPOSSIBLE, log_prob)[rows, going]
        reachable = log_prob[:, 0] / length_penalty(max_length, alpha)
        source = (rows * beam + origin[rows, going]).reshape(-1)
        return _Search(
            at=at + 1,
            state=jax.tree.map(lambda each: each[source], state),
            tokens=tokens[rows, going],
            log_prob=log_prob,
            best=best,
            ended=ended,
            done=search.done | (ended >= beam) | (reachable <= best.scores),
        )

    empty = jnp.full((batch, beam, max_length), symbols.pad, jnp.int32)
    start = _Search(
        at=jnp.zeros((), jnp.int32),
        state=state,
        tokens=empty,
        # All hypotheses are the same at first, so that only one may go on.
        log_prob=jnp.full((batch, beam), _IMPOSSIBLE).at[:, 0].set(0.0),
        best=Hypotheses(empty[:, 0], jnp.zeros(batch), jnp.full(batch, -jnp.inf)),
        ended=jnp.zeros(batch, jnp.int32),
        done=jnp.zeros(batch, bool),
    )
    found = jax.lax.while_loop(
        lambda search: (search.at < max_length) & ~jnp.all(search.done), body, start
    )
    cut_off = Hypotheses(
        found.tokens[:, 0],
        found.log_prob[:, 0],
        found.log_prob[:, 0] / length_penalty(max_length, alpha),
    )
    return _chosen(jnp.isneginf(found.best.scores), cut_off, found.best)


def better(first: Hypotheses, second: Hypotheses, symbols: Symbols) -> Hypotheses:
    """Of each sentence the better-scored one; one that ended is better than one that was cut."""

    ended, other = ((each.tokens == symbols.eos).any(axis=1) for each in (first, second))
    higher = first.scores >= second.scores
    return _chosen(jnp.where(ended == other, higher, ended), first, second)


def _chosen(which: Bool[Array, " batch"], yes: Hypotheses, no: Hypotheses) -> Hypotheses:
    return jax.tree.map(
        lambda a, b: jnp.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b), yes, no
    )


def _log_probs(logits: Float[Array, "rows outputs"], symbols: Symbols) -> Array:
    """Of all tokens; padding and beginning are impossible, and the others not likelier for it."""
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    return log_probs.at[:, jnp.array([symbols.pad, symbols.bos])].set(_IMPOSSIBLE)
