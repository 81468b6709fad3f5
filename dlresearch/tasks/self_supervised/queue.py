"""A queue of vectors of past batches, as a ring in the state of a task.

Introduced by MoCo (He et al. 2020, arXiv:1911.05722, section 3.2) for negatives; NNCLR (Dwibedi et
al. 2021, arXiv:2104.14548, section 3.2) looks up neighbours in one.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from dlresearch.errors import UserError
from dlresearch.models.self_supervised import unit_length


class Queue(struct.PyTreeNode):
    """The vectors of the last batches.

    Attributes:
      rows: vectors of length 1, float32.
      oldest: number of the row that is replaced next.
    """

    rows: Float[Array, "length features"]
    oldest: Int[Array, ""]


def new_queue(length: int, features: int) -> Queue:
    """A queue of random directions, always the same ones, to be replaced from the first row on."""
    rows = unit_length(jax.random.normal(jax.random.key(0), (length, features), jnp.float32))
    return Queue(rows, jnp.int32(0))


def enqueue(queue: Queue, vectors: Float[Array, "batch features"]) -> Queue:
    """The queue with its oldest rows replaced by vectors, in their order, brought to length 1.

    The end may fall inside a batch: the rest goes to the beginning.

    Raises:
      UserError: more vectors than the queue is long.
    """
    length, count = len(queue.rows), len(vectors)
    if count > length:
        raise UserError(
            f"config.task.queue: {length} rows do not hold a batch of {count}; make it longer"
        )
    places = (queue.oldest + jnp.arange(count, dtype=jnp.int32)) % length
    rows = queue.rows.at[places].set(unit_length(vectors), unique_indices=True)
    return Queue(rows, (queue.oldest + count) % length)


def nearest(
    queue: Queue, vectors: Float[Array, "batch features"]
) -> Float[Array, "batch features"]:
    """Of each vector, the row of the queue with the largest cosine."""
    exact = jax.lax.Precision.HIGHEST
    cosines = jnp.matmul(unit_length(vectors), queue.rows.T, precision=exact)
    return queue.rows[jnp.argmax(cosines, axis=1)]
