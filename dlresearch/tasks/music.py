"""Polyphonic music: which notes sound next."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Key, Shaped

from dlresearch.data.chorales import NUM_NOTES
from dlresearch.errors import UserError
from dlresearch.tasks.midi import to_midi
from dlresearch.tasks.supervised import PLAYER, Supervised, require
from dlresearch.tasks.task import Batch, MakeModel, Variables


class PolyphonicMusic(Supervised):
    """Each frame of a piece from all frames before it, the first one from silence.

    The loss of a frame is the sum over the 88 notes of the binary cross-entropy, in nats; that of a
    piece the mean over its frames, so that every piece counts the same in training.

    The model reads the frames one step late, how many there are, and a carried state or None:
    `model(frames, length, carry)` gives logits [batch, time, 88] and the new state.

    Args:
      make_model: from the trainer; the model gets `num_outputs=88`.
      notes: key of the piano rolls [batch, time, 88], 1 where a note sounds, MIDI 21 to 108.
      length: key of the number of frames of each piece [batch].
    """

    def __init__(self, make_model: MakeModel, notes: str = "notes", length: str = "length"):
        super().__init__(make_model(num_outputs=NUM_NOTES), (notes, length))
        self.notes, self.length = notes, length

    def losses(
        self, outputs: tuple[Float[Array, "batch time 88"], Any], batch: Batch
    ) -> tuple[Float[Array, " batch"], dict[str, Float[Array, " batch"]]]:
        length = require(batch, self.length, "config.task.length")
        nll, valid = frame_nll(outputs[0], require(batch, self.notes, "config.task.notes"), length)
        losses = jnp.sum(jnp.where(valid, nll, 0.0), axis=1) / jnp.maximum(length, 1)
        return losses, {"nll_frame": losses}

    def predict(self, variables: Variables, batch: Batch) -> Float[Array, "batch time 88"]:
        """Logits of every frame, given those before it."""
        return super().predict(variables, batch)[0]

    def generate(
        self,
        variables: Variables,
        key: Key[Array, ""],
        *,
        length: int = 64,
        count: int = 1,
        temperature: float = 1.0,
    ) -> Iterator[tuple[str, bytes]]:
        """MIDI files of new pieces, a frame drawn at a time, note by note.

        Args:
          length: frames of each piece.
          count: how many pieces.
          temperature: logits are divided by it; 0 plays each note that is likelier than not.
        """
        rolls = np.asarray(_roll(self, length, count, variables, key, jnp.float32(temperature)))
        for number, roll in enumerate(rolls):
            yield f"piece-{number}.mid", to_midi(roll)

    def _read(self, batch: Batch) -> tuple[Array, ...]:
        notes, length = super()._read(batch)
        if notes.ndim != 3 or notes.shape[-1] != NUM_NOTES:
            raise UserError(
                f"config.task.notes: {self.notes!r} has shape {list(notes.shape)}, not"
                f" [batch, time, {NUM_NOTES}]"
            )
        return jnp.pad(notes, ((0, 0), (1, 0), (0, 0)))[:, :-1], length


def frame_nll(
    logits: Float[Array, "batch time 88"],
    notes: Shaped[Array, "batch time 88"],
    length: Shaped[Array, " batch"],
) -> tuple[Float[Array, "batch time"], Bool[Array, "batch time"]]:
    """The loss of every frame in nats, and which frames are within the length of their piece."""
    if logits.shape != notes.shape:
        raise UserError(
            f"config.model: its output has shape {list(logits.shape)}; these notes need"
            f" {list(notes.shape)}"
        )
    each = optax.sigmoid_binary_cross_entropy(logits.astype(jnp.float32), notes.astype(jnp.float32))
    return jnp.sum(each, axis=-1), jnp.arange(notes.shape[1]) < length[:, None]


def _roll(
    task: PolyphonicMusic,
    length: int,
    count: int,
    variables: Variables,
    key: Key[Array, ""],
    temperature: Float[Array, ""],
) -> Bool[Array, "count length 88"]:
    """Frames drawn one after the other, each read by the model before the next."""

    def read(variables: Variables, frame: Array, carry: Any) -> tuple[Array, Any]:
        params, state = variables.params[PLAYER], variables.state[PLAYER]
        (logits, carry), _ = task.model.apply(
            params, state, frame[:, None], None, carry, train=False
        )
        return logits[:, 0].astype(jnp.float32), carry

    def draw(variables: Variables, key: Key[Array, ""], temperature: Array) -> Array:
        def step(state: tuple[Array, Any], key: Key[Array, ""]) -> tuple[tuple[Array, Any], Array]:
            logits, carry = state
            positive = jnp.where(temperature > 0, temperature, 1.0)
            drawn = jax.random.bernoulli(key, jax.nn.sigmoid(logits / positive))
            frame = jnp.where(temperature > 0, drawn, logits > 0)
            return read(variables, frame, carry), frame

        silence = jnp.zeros((count, NUM_NOTES), bool)
        first = read(variables, silence, None)
        _, frames = jax.lax.scan(step, first, jax.random.split(key, length))
        return jnp.swapaxes(frames, 0, 1)

    return jax.jit(draw)(variables, key, temperature)
