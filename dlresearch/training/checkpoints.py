"""Checkpoints: saved in the background, checked when read, the newest and the best kept.

The arrays are Orbax's; beside them lies a description: shapes, dtypes, the layout of the file, and
for every array a checksum that was computed on the device when it was saved. Restoring computes it
again, so that a bit that flipped on the disk is found, on whatever mesh. A checkpoint that cannot
be read, or whose checksums differ, is put aside and the one before it is used. One that is whole
but belongs to another model is the user's mistake.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import Array, PyTree, UInt32
from orbax.checkpoint import checkpoint_managers

from dlresearch.errors import UserError
from dlresearch.training.console import say

_STATE, _DESCRIPTION = "state", "description"
_DAMAGED = "damaged"


class DamagedCheckpoint(Exception):
    """What is on the disk is not what was saved."""


@dataclass(frozen=True)
class Restored:
    """A state from a checkpoint, and the small facts saved with it."""

    state: PyTree
    facts: Mapping[str, Any]
    step: int


class Checkpoints:
    """The checkpoints of one run.

    Args:
      folder: made where it is missing.
      score: of a step, higher is better, None where nothing was measured; the best step that has a
        score is kept beside the newest.
      read_only: neither save, clean up nor delete; for a run that may still be going on.
    """

    def __init__(
        self, folder: Path, score: Callable[[int], float | None], *, read_only: bool = False
    ):
        self._folder = folder.resolve()
        self._score = score
        self._checksums = jax.jit(lambda leaves: [_checksum(leaf) for leaf in leaves])
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=_NewestAndBest(score),
                enable_async_checkpointing=True,
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
                async_options=ocp.AsyncOptions(timeout_secs=3600),
            ),
            item_handlers={
                _STATE: ocp.StandardCheckpointHandler(),
                _DESCRIPTION: ocp.JsonCheckpointHandler(),
            },
        )

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, oldest first."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The step with the best score among those that are kept."""
        scored = [
            (score, step) for step in self.steps() if (score := self._score(step)) is not None
        ]
        return max(scored)[1] if scored else None

    def save(self, step: int, state: PyTree, facts: Mapping[str, Any]) -> None:
        """Start to save; returns once `state` may be changed. A step already saved is left
        alone.
        """
        if step in self._manager.all_steps():
            return
        leaves = _leaves(state)
        body = {
            "facts": dict(facts),
            "arrays": {
                path: [list(leaf.shape), str(leaf.dtype), int(checksum)]
                for (path, leaf), checksum in zip(
                    leaves.items(), self._checksums(list(leaves.values())), strict=True
                )
            },
        }
        description = {"body": body, "checksum": _text_checksum(body)}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                **{
                    _STATE: ocp.args.StandardSave(state),
                    _DESCRIPTION: ocp.args.JsonSave(description),
                }
            ),
        )

    def wait(self) -> None:
        """Until what was started is on the disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, then let go of threads."""
        self._manager.close()

    def restore(self, abstract_state: PyTree, step: int) -> Restored:
        """The state of a step.

        Args:
          abstract_state: `jax.ShapeDtypeStruct`s with shardings, the tree that is expected.

        Raises:
          DamagedCheckpoint: it cannot be read, or a checksum differs.
          UserError: it holds another tree, shape or dtype.
        """
        body = self._description(step)
        saved = {path: (tuple(shape), dtype) for path, (shape, dtype, _) in body["arrays"].items()}
        _check_same_arrays(saved, abstract_state, f"{self._folder / str(step)}")
        try:
            restored = self._manager.restore(
                step, args=ocp.args.Composite(**{_STATE: ocp.args.StandardRestore(abstract_state)})
            )
            state = jax.block_until_ready(restored[_STATE])
        # Orbax and TensorStore have no common error for what a broken file can lead to.
        except Exception as error:
            raise DamagedCheckpoint(_first_line(error)) from error
        leaves = _leaves(state)
        checksums = self._checksums(list(leaves.values()))
        for path, checksum in zip(leaves, checksums, strict=True):
            if int(checksum) != body["arrays"][path][2]:
                raise DamagedCheckpoint(f"{path} is not what was saved")
        return Restored(state, body["facts"], step)

    def restore_newest(self, abstract_state: PyTree) -> Restored | None:
        """The newest checkpoint that is whole; None if there never was one.

        A damaged one is reported and moved to `damaged/`, so that its step can be saved again.

        Raises:
          UserError: all of them are damaged, or the newest whole one belongs to another model.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.restore(abstract_state, step)
            except DamagedCheckpoint as damage:
                aside = self._put_aside(step)
                say(f"checkpoint {step} is damaged ({damage}); moved to {aside}")
        if damaged := list((self._folder / _DAMAGED).glob("*")):
            # Also when they were put aside by an earlier start: to begin anew is the user's choice.
            raise UserError(
                f"{self._folder}: all {len(damaged)} checkpoints are damaged; take another"
                " --workdir to start from step 0"
            )
        return None

    def _description(self, step: int) -> dict[str, Any]:
        try:
            description = self._manager.restore(
                step, args=ocp.args.Composite(**{_DESCRIPTION: ocp.args.JsonRestore()})
            )[_DESCRIPTION]
            body, checksum = description["body"], description["checksum"]
        except Exception as error:
            raise DamagedCheckpoint(_first_line(error)) from error
        if _text_checksum(body) != checksum:
            raise DamagedCheckpoint("its description is not what was saved")
        return body

    def _put_aside(self, step: int) -> Path:
        aside = self._folder / _DAMAGED
        if jax.process_index() == 0:
            aside.mkdir(exist_ok=True)
            number = 0
            while (target := aside / f"{step}-{number}").exists():
                number += 1
            (self._folder / str(step)).rename(target)
        self._manager.reload()
        return aside


class _NewestAndBest(checkpoint_managers.PreservationPolicy):
    """Keep the newest and the best; `max_to_keep` with `best_fn` alone would delete the newest."""

    def __init__(self, score: Callable[[int], float | None]):
        self._score = score

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        steps = [checkpoint.step for checkpoint in checkpoints]
        scores = [(score, step) for step in steps if (score := self._score(step)) is not None]
        # The one before the newest stays too: it is what a damaged newest one falls back to.
        keep = {*sorted(steps)[-2:], *([max(scores)[1]] if scores else [])}
        return [step in keep for step in steps]


def _leaves(tree: PyTree) -> dict[str, Any]:
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}


def _checksum(array: Array) -> UInt32[Array, ""]:
    """Sum of all words times odd weights that depend on the place, modulo 2^32.

    Integer arithmetic, so it is the same on any device and mesh; an odd weight is invertible modulo
    2^32, so a single changed word always shows.
    """
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    if array.dtype == jnp.bool_:
        array = array.astype(jnp.uint8)
    width = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}[array.dtype.itemsize]
    words = jax.lax.bitcast_convert_type(array, width).astype(jnp.uint32)
    # The place of a word is built from its indices, not from a flattened copy: shards stay put.
    place = jnp.uint32(0)
    for axis, size in enumerate(words.shape):
        index = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        place = place * jnp.uint32(size % 2**32) + index
    return jnp.sum(words * (2 * place + 1), dtype=jnp.uint32)


def _text_checksum(body: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())


def _check_same_arrays(
    saved: Mapping[str, tuple[tuple[int, ...], str]], abstract_state: PyTree, where: str
) -> None:
    wanted = {
        path: (tuple(leaf.shape), str(leaf.dtype)) for path, leaf in _leaves(abstract_state).items()
    }
    # Parameters before the optimizer's copies of their shapes: they are what a user knows.
    for path in sorted({*saved, *wanted}, key=lambda path: ("/params/" not in path, path)):
        if saved.get(path) == wanted.get(path):
            continue
        there = _describe(*saved[path]) if path in saved else "nothing"
        here = _describe(*wanted[path]) if path in wanted else "nothing"
        raise UserError(
            f"{where}: a checkpoint of another model: {path} is {there} in it and {here} here"
        )


def _describe(shape: tuple[int, ...], dtype: str) -> str:
    return f"{np.dtype(dtype).name if dtype != 'bfloat16' else dtype}{list(shape)}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
