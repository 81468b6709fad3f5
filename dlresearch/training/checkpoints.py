"""Checkpoints: saved in the background, checked when read, the newest and the best kept.

The arrays are Orbax's; beside them lies a description: shapes, dtypes, the layout of the file, and
for every array a checksum that was computed on the device when it was saved. Restoring computes it
again, so that a bit that flipped on the disk is found, on whatever mesh. A checkpoint that cannot
be read, or whose checksums differ, is put aside and the one before it is used. One that is whole
but belongs to another model is the user's mistake.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from etils import epath
from jaxtyping import Array, PyTree
from orbax.checkpoint import checkpoint_managers

from dlresearch.errors import Failure, UserError, one_line
from dlresearch.parallel import from_first, gather
from dlresearch.patterns import path_of
from dlresearch.training.arrays import (
    Spec,
    check_same_arrays,
    leaves_by_path,
    spec_of,
)
from dlresearch.training.checksums import array_checksum, text_checksum
from dlresearch.training.console import say

_STATE, _DESCRIPTION = "state", "description"
_DAMAGED = "damaged"
_T = TypeVar("_T")


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
        self._checksums = jax.jit(lambda leaves: [array_checksum(leaf) for leaf in leaves])
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
        """Steps of the finished checkpoints, oldest first; as the first process finds them."""
        return from_first(lambda: sorted(self._manager.all_steps()))

    def best_step(self) -> int | None:
        """The step with the best score among those that are kept."""
        steps = self.steps()

        def best() -> int | None:
            scored = [(score, step) for step in steps if (score := self._score(step)) is not None]
            return max(scored)[1] if scored else None

        return from_first(best)

    def save(self, step: int, state: PyTree, facts: Mapping[str, Any]) -> None:
        """Start to save; returns once `state` may be changed. A step already saved is left
        alone.
        """
        if step in self._manager.all_steps():
            return
        leaves = leaves_by_path(state)
        body = {
            "facts": dict(facts),
            "arrays": {
                path: [*spec_of(leaf), int(checksum)]
                for (path, leaf), checksum in zip(
                    leaves.items(), self._checksums(list(leaves.values())), strict=True
                )
            },
        }
        description = {"body": body, "checksum": text_checksum(body)}
        with self._saving():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    **{
                        _STATE: ocp.args.StandardSave(state),
                        _DESCRIPTION: ocp.args.JsonSave(description),
                    }
                ),
            )

    def check(self) -> None:
        """Raises Failure if what is saved in the background has failed by now."""
        with self._saving():
            self._manager.check_for_errors()

    def wait(self) -> None:
        """Until what was started is on the disk; raises Failure where it does not get there."""
        with self._saving():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait, then let go of threads."""
        self.wait()
        self._manager.close()

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        # Orbax and TensorStore have no common error for a disk that fails.
        except Exception as error:
            whole = [path.name for path in self._folder.glob("*") if path.name.isdecimal()]
            newest = f"that of step {max(map(int, whole))} is whole" if whole else "there is none"
            raise Failure(
                f"a checkpoint could not be saved in {self._folder}; {newest}, and the same command"
                f" goes on from there ({one_line(error)})"
            ) from error

    def restore(self, abstract_state: PyTree, step: int) -> Restored:
        """The state of a step.

        Args:
          abstract_state: `jax.ShapeDtypeStruct`s with shardings, the tree that is expected.

        Raises:
          DamagedCheckpoint: it cannot be read, or a checksum differs.
          UserError: it holds another tree, shape or dtype.
        """
        body = _together(lambda: self._description(step))
        check_same_arrays(_specs(body), abstract_state, f"{self._folder / str(step)}")
        state = _together(lambda: self._state(step, abstract_state))
        self._compare(leaves_by_path(state), body)
        return Restored(state, body["facts"], step)

    def arrays(self, step: int) -> dict[str, Spec]:
        """All arrays of a step by path, such as `variables/params/model/Conv_0/kernel`.

        Raises:
          DamagedCheckpoint: the description cannot be read.
        """
        return _specs(_together(lambda: self._description(step)))

    def restore_arrays(
        self, wanted: Mapping[str, jax.ShapeDtypeStruct], step: int
    ) -> dict[str, Array]:
        """Some of the arrays of a step, of a state whose other parts need not be known.

        Args:
          wanted: with shardings, by path; shapes and dtypes are those of `arrays`.

        Raises:
          DamagedCheckpoint: they cannot be read, or a checksum differs.
        """
        body = _together(lambda: self._description(step))
        found = _together(lambda: self._part_of_state(step, wanted))
        self._compare(found, body)
        return found

    def _compare(self, leaves: Mapping[str, Array], body: Mapping[str, Any]) -> None:
        checksums = self._checksums(list(leaves.values()))
        for path, checksum in zip(leaves, checksums, strict=True):
            if int(checksum) != body["arrays"][path][2]:
                raise DamagedCheckpoint(f"{path} is not what was saved")

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
        if damaged := from_first(lambda: len(list((self._folder / _DAMAGED).glob("*")))):
            # Also when they were put aside by an earlier start: to begin anew is the user's choice.
            raise UserError(
                f"{self._folder}: all {damaged} checkpoints are damaged; take another"
                " --workdir to start from step 0"
            )
        return None

    # With the handlers and not the manager, which would wait for all processes to have read, also
    # for one that could not.

    def _state(self, step: int, abstract_state: PyTree) -> PyTree:
        handler = ocp.StandardCheckpointHandler()
        args = ocp.args.StandardRestore(abstract_state)
        return jax.block_until_ready(handler.restore(self._part(step, _STATE), args=args))

    def _part_of_state(
        self, step: int, wanted: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, Array]:
        handler, where = ocp.PyTreeCheckpointHandler(), self._part(step, _STATE)
        item = jax.tree_util.tree_map_with_path(
            lambda path, _: wanted.get(path_of(path), ocp.PLACEHOLDER), handler.metadata(where).tree
        )
        args = ocp.args.PyTreeRestore(
            item=item, restore_args=ocp.checkpoint_utils.construct_restore_args(item)
        )
        found = leaves_by_path(handler.restore(where, args=args))
        return jax.block_until_ready({path: found[path] for path in wanted})

    def _description(self, step: int) -> dict[str, Any]:
        description = ocp.JsonCheckpointHandler().restore(self._part(step, _DESCRIPTION))
        body, checksum = description["body"], description["checksum"]
        if text_checksum(body) != checksum:
            raise DamagedCheckpoint("its description is not what was saved")
        return body

    def _part(self, step: int, name: str) -> epath.Path:
        return epath.Path(self._folder) / str(step) / name

    def _put_aside(self, step: int) -> Path:
        aside = self._folder / _DAMAGED
        if jax.process_index() == 0:
            aside.mkdir(exist_ok=True)
            number = 0
            while (target := aside / f"{step}-{number}").exists():
                number += 1
            (self._folder / str(step)).rename(target)
        gather("put aside")
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


def _together(read: Callable[[], _T]) -> _T:
    """What `read` gives; raises DamagedCheckpoint where it failed in any process."""
    found: list[_T] = []
    damage = ""
    try:
        found.append(read())
    # Orbax and TensorStore have no common error for what a broken file can lead to.
    except Exception as error:
        damage = str(error) if isinstance(error, DamagedCheckpoint) else one_line(error)
    if damages := [each for each in gather(damage) if each]:
        raise DamagedCheckpoint(damages[0])
    return found[0]


def _specs(body: Mapping[str, Any]) -> dict[str, Spec]:
    return {path: Spec(tuple(shape), dtype) for path, (shape, dtype, _) in body["arrays"].items()}
