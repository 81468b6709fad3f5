"""Runs of one experiment as a single state, which a single program carries on."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dlresearch.config import Experiment, config_hash, differences, to_dict
from dlresearch.data import BucketedOrder
from dlresearch.errors import UserError
from dlresearch.parallel import replicated
from dlresearch.training.call import Kind, Program, compiled, jit_call
from dlresearch.training.feed import Feed
from dlresearch.training.setup import Setup
from dlresearch.training.stages import stage_at
from dlresearch.training.state import Recorded, TrainState
from dlresearch.training.vectorised.lockstep import Lockstep, OtherProgram

_MAY_DIFFER = ("optimizer.", "optimizers.", "average.", "task.", "data.augmentations.")
_ONLY_IN_TRAINING = ("seed", "optimizer.", "optimizers.", "average.", "data.augmentations.")

# The runs have an axis of their own in front, but the number of the step is that of all: so the
# learning rate is computed once, and what is due at some steps only is not computed at others.
_AXES: Any = TrainState(seed=0, step=None, variables=0, optimizers=0, recorded=0, loss_scale=0)  # pyright: ignore[reportArgumentType]


class Together:
    """The runs of these experiments.

    Attributes:
      first: the setup of the first of them, for what all share.
      setups: that of each run; runs that differ in the seed have the same one.

    Raises:
      UserError: they differ in more than seeds and numbers, or cannot be vectorised at all.
    """

    def __init__(self, experiments: Sequence[Experiment]):
        self._experiments = experiments
        self._check_settings()
        self.first = Setup(experiments[0])
        self._check_kind()
        hashes = [config_hash(replace(each, seed=0)) for each in experiments]
        by_hash = {hashes[0]: self.first}
        for each, name in zip(experiments, hashes, strict=True):
            if name not in by_hash:
                by_hash[name] = Setup(each)
        self.setups = tuple(by_hash[name] for name in hashes)
        self._distinct = tuple(by_hash.values())
        self._program_of = np.array([list(by_hash).index(name) for name in hashes])
        for setup in self._distinct[1:]:
            self._check_shapes(setup)
        self._seeds = np.array([each.seed for each in experiments], np.uint32)
        self._steps: dict[tuple[int, tuple[str, ...] | None], Lockstep] = {}
        self._one_step(self.kind(0, 1))  # refuses other programs while no folder is touched

    def __len__(self) -> int:
        return len(self.setups)

    def judge(self, run: int) -> Setup:
        """The setup whose evaluators and predictions are those of a run.

        One for all, where nothing differs that they could see: it holds the examples once.
        """
        changed = self._differences(self._experiments[run])
        alike = all(f"{path}.".startswith(_ONLY_IN_TRAINING) for path, *_ in changed)
        return self.first if alike else self.setups[run]

    @cached_property
    def feeds(self) -> tuple[Feed, ...]:
        """The examples of each run in its own order, standing at step 0; in memory once."""
        feeds: list[Feed] = []
        for seed in self._seeds.tolist():
            resident = feeds[0].resident if feeds else None
            feeds.append(self.first.make_feed(seed, resident))
            feeds[-1].start(0)
        return tuple(feeds)

    def take(self, steps: int) -> Any:
        """What the next call of so many steps reads."""
        return self._stacked([feed.take(steps) for feed in self.feeds], axis=int(steps > 1))

    def initial_state(self) -> TrainState:
        """The state of all runs at step 0, on the device."""
        feed = self.feeds[0]
        taken = self._stacked([each.peek() for each in self.feeds], axis=0)
        loaded = {} if self.first.loading is None else self.first.loading.read()

        def start(setup: Setup, seed: Array, batch: Any, loaded: Any) -> TrainState:
            return setup.first_state(seed, batch, loaded)

        shapes = (np.uint32(0), self.first.batch_shapes, loaded)
        one = self._lockstep([partial(start, setup) for setup in self._distinct], shapes)

        def all_of_them(seeds: Array, resident: Any, taken: Any, loaded: Any) -> TrainState:
            batches = jax.vmap(feed.pick, in_axes=(None, 0))(resident, taken)
            axes = (0, 0, 0, None)
            return jax.vmap(one, axes, _AXES)(self._numbers(one), seeds, batches, loaded)

        whole = replicated(self.first.mesh)
        made = jax.jit(all_of_them, out_shardings=whole)
        return made(self._seeds, feed.resident, taken, loaded)

    def kind(self, step: int, steps: int) -> Kind:
        """What the program of the call at a step depends on."""
        due = self.first.due(step, steps)
        for setup in self._distinct:
            if setup.due(step, steps) != due:
                raise self._other_program(setup)
        return Kind(steps, stage_at(self.first.stages, step).start, None, due)

    def compile(self, kind: Kind, state: TrainState, taken: Any) -> Program:
        """The call of a kind, `(state, resident, taken) -> (state, recorded)`."""
        one = self._one_step(kind)
        step = jax.vmap(one, (0, _AXES, 0), _AXES)
        feed = self.feeds[0]
        call = jit_call(
            lambda state, batch: step(self._numbers(one), state, batch),
            jax.vmap(feed.pick, in_axes=(None, 0)),
            kind.steps,
            self._abstract_state(state),
        )
        what = f"{kind.in_words()} of {len(self)} runs"
        return compiled(call, what, state, feed.resident, taken)

    def state_of(self, state: TrainState, run: int) -> TrainState:
        """That of one run, as the trainer has it."""
        return self._part(state.replace(step=None), np.int32(run)).replace(
            step=jnp.copy(state.step)
        )

    def recorded_of(self, recorded: Recorded, run: int) -> Recorded:
        """What one run recorded, of that of all on the host."""
        return jax.tree.map(lambda values: values[run], recorded)

    # --- how it is made -------------------------------------------------------------------------

    def _one_step(self, kind: Kind) -> Lockstep:
        """The step of one run, given its numbers."""
        key = kind.stage, kind.due
        if key not in self._steps:
            steps = [
                partial(stage_at(setup.stages, kind.stage).step, due=kind.due)
                for setup in self._distinct
            ]
            shapes = self.first.abstract_state, self.first.batch_shapes
            self._steps[key] = self._lockstep(steps, shapes)
        return self._steps[key]

    @cached_property
    def _part(self) -> Callable[[TrainState, Any], TrainState]:
        def part(state: TrainState, run: Any) -> TrainState:
            return jax.tree.map(lambda values: values[run], state)

        return jax.jit(part, out_shardings=replicated(self.first.mesh))

    def _abstract_state(self, state: TrainState) -> TrainState:
        whole = replicated(self.first.mesh)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), state
        )

    def _numbers(self, one: Lockstep) -> list[Array]:
        """The numbers of each run, of those of each program."""
        return [jnp.asarray(rows[self._program_of]) for rows in one.numbers]

    def _lockstep(self, functions: Sequence[Callable[..., Any]], shapes: Any) -> Lockstep:
        try:
            return Lockstep(functions, *shapes)
        except OtherProgram:
            # Which of them it is, the first other one tells.
            for function, setup in zip(functions[1:], self._distinct[1:], strict=True):
                try:
                    Lockstep((functions[0], function), *shapes)
                except OtherProgram:
                    raise self._other_program(setup) from None
            raise

    @staticmethod
    def _stacked(parts: Sequence[Any], axis: int) -> Any:
        def stacked(*rows: Any) -> Any:
            on_host = isinstance(rows[0], np.ndarray)
            return (np if on_host else jnp).stack(rows, axis)

        return jax.tree.map(stacked, *parts)

    # --- what is refused ------------------------------------------------------------------------

    def _differences(self, experiment: Experiment) -> list[tuple[str, Any, Any]]:
        return differences(to_dict(self._experiments[0]), to_dict(experiment))

    def _check_settings(self) -> None:
        for experiment in self._experiments[1:]:
            for path, there, here in self._differences(experiment):
                if path != "seed" and not path.startswith(_MAY_DIFFER):
                    raise UserError(
                        f"config.{path}: {there!r} in one run and {here!r} in another; vectorised"
                        " ones share all but the seed and numbers of the optimizer, the task, the"
                        " average and augmentations; give these runs of their own"
                    )

    def _check_kind(self) -> None:
        if self.first.mesh.size > 1:
            raise UserError(
                f"config.mesh: vectorised runs use one device, and there are {self.first.mesh.size}"
                "; show the process one of them, as with CUDA_VISIBLE_DEVICES=0"
            )
        if isinstance(self.first.order, BucketedOrder):
            raise UserError(
                "config.data.buckets: how wide a batch is depends on the seed, and vectorised runs"
                " need the same shapes; set it to () or give these runs of their own"
            )

    def _check_shapes(self, setup: Setup) -> None:
        def of(setup: Setup) -> Any:
            leaves, tree = jax.tree.flatten((setup.abstract_state, setup.batch_shapes))
            return setup.schedule, setup.steps_per_call, leaves, tree

        if of(setup) != of(self.first):
            raise self._other_program(setup)

    def _other_program(self, setup: Setup) -> UserError:
        changed = self._differences(setup.experiment)
        settings = [f"config.{path}" for path, *_ in changed if path != "seed"]
        _, there, here = next(each for each in changed if each[0] != "seed")
        more = f" (or {', '.join(settings[1:])})" if len(settings) > 1 else ""
        return UserError(
            f"{settings[0]}{more}: {there!r} in one run and {here!r} in another make other"
            " programs, and vectorised ones differ in numbers only; give these runs of their own"
        )
