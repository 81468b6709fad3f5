"""One training step, for every task: gradients, update, averages, metrics. Written once.

A step is a pure function `(state, batch) -> state`. It knows players, not what they learn.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Protocol, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree

from dlresearch.tasks import (
    Average,
    Batch,
    Metrics,
    Player,
    Regulariser,
    Task,
    Time,
    Variables,
    fold_in_name,
)
from dlresearch.training.state import LossScale, Recorded, TrainState

Augment: TypeAlias = Callable[[Key[Array, ""], dict[str, Array]], dict[str, Array]]


class Step(Protocol):
    """`(state, batch) -> state`.

    `due` names the players whose regularisers this step applies. With None that is decided on the
    device, by the number of the step, and one program serves all steps.
    """

    def __call__(
        self, state: TrainState, batch: dict[str, Array], due: tuple[str, ...] | None = None
    ) -> TrainState: ...


@dataclass(frozen=True)
class PlayerOptimizer:
    """How one player is updated."""

    transformation: optax.GradientTransformation
    learning_rate: optax.Schedule
    clip_norm: float | None


@dataclass(frozen=True)
class StepOptions:
    """What a step needs beside the task.

    Attributes:
      augment: preprocessing and augmentation of a batch, on the device.
      averages: the task's and the run's own.
      accumulate: microbatches of a batch.
      record_every: the means in `state.recorded` start anew after so many steps.
      scale_loss: for float16.
      total_steps: of the run.
      unroll: write them out one after the other instead of as a loop. For a CPU: XLA:CPU runs a
        convolution inside a loop over ten times slower (`benchmarks/gpu.py --small`, last figure).
      gather: of variables, the same as losses read them: with weights that are split gathered.
      place: of a player's name and gradients, the gradients, split as its parameters are.
    """

    optimizers: Mapping[str, PlayerOptimizer]
    averages: Mapping[str, Average]
    augment: Augment
    accumulate: int
    record_every: int
    scale_loss: bool
    total_steps: int
    unroll: bool = False
    gather: Callable[[Variables], Variables] = lambda variables: variables
    place: Callable[[str, PyTree], PyTree] = lambda player, gradients: gradients


def draws_of(task: Task) -> int:
    """How many batches a step reads: one for each repeat of the player with most of them."""
    return max(player.repeats for player in task.players)


def make_step(
    task: Task, options: StepOptions
) -> tuple[Callable[[Array, Variables, dict[str, Array]], TrainState], Step]:
    """The state at step 0, as a function of the seed, the variables and a batch that shows shapes;
    and the step.
    """
    players = tuple(task.players)
    draws = draws_of(task)

    def initial(seed: Array, variables: Variables, batch: dict[str, Array]) -> TrainState:
        state = TrainState(
            seed=seed,
            step=jnp.int32(0),
            variables=variables,
            optimizers={
                name: optimizer.transformation.init(variables.params[name])
                for name, optimizer in options.optimizers.items()
            },
            recorded=Recorded.empty({}),
            loss_scale=LossScale.initial() if options.scale_loss else None,
        )
        leaves, tree = jax.tree.flatten((state, batch))
        shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
        return state.replace(recorded=Recorded.empty(metrics_of(tree, shapes)))

    # Kept, as `initial` is traced for the shapes of the state, and again when the state is made.
    @cache
    def metrics_of(tree: Any, shapes: tuple[jax.ShapeDtypeStruct, ...]) -> Metrics:
        state, batch = jax.tree.unflatten(tree, shapes)
        return jax.eval_shape(partial(learn, due=()), state, batch)[1]

    def learn(
        state: TrainState, batch: dict[str, Array], due: tuple[str, ...] | None
    ) -> tuple[TrainState, Metrics, Array]:
        key = jax.random.fold_in(jax.random.key(state.seed), state.step)
        with jax.named_scope("augment"):
            batch = options.augment(fold_in_name(key, "augment"), batch)
        time = Time(state.step, options.total_steps)
        variables, loss_scale = state.variables.replace(time=time), state.loss_scale
        optimizers = dict(state.optimizers)
        metrics: dict[str, Array] = {}
        finite = jnp.bool_(True)
        for player in players:
            player_key = fold_in_name(key, player.name)
            prefix = f"{player.name}/" if len(players) > 1 else ""
            for repeat in range(player.repeats):
                with jax.named_scope(player.name):
                    update = _update_player(
                        player,
                        variables,
                        optimizers[player.name],
                        part_of(batch, draws, repeat),
                        jax.random.fold_in(player_key, repeat),
                        loss_scale,
                        options,
                    )
                variables, optimizers[player.name], loss_scale = update.kept
                finite &= update.finite
            metrics |= {f"{prefix}{name}": value for name, value in update.metrics.items()}
            if player.regulariser is not None:
                with jax.named_scope(f"{player.name}/regulariser"):
                    kept, was_finite = _regularise(
                        player,
                        player.regulariser,
                        update.kept,
                        part_of(batch, draws, 0),
                        fold_in_name(player_key, "regulariser"),
                        options,
                        step=state.step,
                        due=due,
                    )
                variables, optimizers[player.name], loss_scale = kept
                finite &= was_finite
            rate = options.optimizers[player.name].learning_rate(state.step)
            metrics[f"{prefix}learning_rate"] = jnp.asarray(rate, jnp.float32)
        if loss_scale is not None:
            metrics["loss_scale"] = loss_scale.scale
        with jax.named_scope("averages"):
            after = _move_averages(variables, options.averages, time)
        gathered = options.gather(after)
        with jax.named_scope("after_step"):
            changed = task.after_step(
                gathered, part_of(batch, draws, 0), fold_in_name(key, "after_step")
            )
        # What was handed through is taken as it was, split.
        after = jax.tree.map(
            lambda new, whole, split: split if new is whole else new, changed, gathered, after
        )
        # What is kept has no time.
        variables = _choose(finite, after.replace(time=None), variables.replace(time=None))
        state = state.replace(
            step=state.step + 1, variables=variables, optimizers=optimizers, loss_scale=loss_scale
        )
        return state, metrics, finite

    def step(
        state: TrainState, batch: dict[str, Array], due: tuple[str, ...] | None = None
    ) -> TrainState:
        new_state, metrics, finite = learn(state, batch, due)
        anew = state.step % options.record_every == 0
        recorded = _choose(anew, Recorded.empty(metrics), state.recorded)
        return new_state.replace(recorded=recorded.add(metrics, finite, state.step))

    return initial, step


_Kept: TypeAlias = tuple[Variables, optax.OptState, LossScale | None]


@dataclass(frozen=True)
class _Update:
    kept: _Kept
    metrics: Metrics
    finite: Bool[Array, ""]


def _update_player(
    player: Player,
    variables: Variables,
    optimizer_state: optax.OptState,
    batch: Batch,
    key: Key[Array, ""],
    loss_scale: LossScale | None,
    options: StepOptions,
) -> _Update:
    """One update of one player, not applied where the loss or a gradient is not finite."""
    optimizer, params = options.optimizers[player.name], variables.params[player.name]
    loss, gradients, state, metrics = _gradients(player, variables, batch, key, loss_scale, options)
    norm = optax.tree.norm(gradients)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    if optimizer.clip_norm is not None:
        # As `optax.clip_by_global_norm`, with the norm that is there already.
        factor = jnp.minimum(1.0, optimizer.clip_norm / jnp.maximum(norm, 1e-12))
        gradients = jax.tree.map(
            lambda gradient: gradient * factor.astype(gradient.dtype), gradients
        )
    with jax.named_scope("update"):
        updates, new_optimizer_state = optimizer.transformation.update(
            gradients, optimizer_state, params
        )
        new_params = optax.apply_updates(params, updates)
    new_variables = variables.replace(
        params={**variables.params, player.name: new_params}, state=state
    )
    metrics = {**metrics, "gradient_norm": norm, "parameter_norm": optax.tree.norm(new_params)}
    kept = (
        _choose(finite, new_variables, variables),
        _choose(finite, new_optimizer_state, optimizer_state),
        None if loss_scale is None else loss_scale.update(finite),
    )
    if loss_scale is not None:
        # A gradient that overflowed under the scale is the scale's fault while it can still fall.
        finite |= jnp.isfinite(loss) & (loss_scale.scale > 1)
        metrics["gradient_norm"] = jnp.where(jnp.isfinite(norm), norm, 0.0)
    return _Update(kept, metrics, finite)


def _regularise(
    player: Player,
    regulariser: Regulariser,
    kept: _Kept,
    batch: Batch,
    key: Key[Array, ""],
    options: StepOptions,
    *,
    step: Array,
    due: tuple[str, ...] | None,
) -> tuple[_Kept, Bool[Array, ""]]:
    """The update along the regulariser, where it is due."""

    def loss(*arguments: Any) -> tuple[Float[Array, ""], Any]:
        value, rest = regulariser.loss(*arguments)
        return regulariser.every * value, rest

    def updated() -> tuple[_Kept, Bool[Array, ""]]:
        variables, optimizer_state, loss_scale = kept
        regularised = replace(player, loss=loss)
        update = _update_player(
            regularised, variables, optimizer_state, batch, key, loss_scale, options
        )
        return update.kept, update.finite

    def untouched() -> tuple[_Kept, Bool[Array, ""]]:
        return kept, jnp.bool_(True)

    if due is None:
        return jax.lax.cond(step % regulariser.every == 0, updated, untouched)
    return updated() if player.name in due else untouched()


def _gradients(
    player: Player,
    variables: Variables,
    batch: Batch,
    key: Key[Array, ""],
    loss_scale: LossScale | None,
    options: StepOptions,
) -> tuple[Float[Array, ""], PyTree, dict[str, PyTree], Metrics]:
    """Mean loss, mean gradient, new state and mean metrics over the microbatches."""
    scale = 1.0 if loss_scale is None else loss_scale.scale
    params, accumulate = variables.params[player.name], options.accumulate

    def scaled_loss(params: PyTree, state: dict[str, PyTree], batch: Batch, key: Key[Array, ""]):
        own = variables.replace(params={**variables.params, player.name: params})
        params = options.gather(own).params[player.name]
        constant = options.gather(variables.replace(state=state))
        loss, (state, metrics) = player.loss(params, constant, batch, key)
        return loss * scale, (loss, state, dict(metrics))

    def part(state: dict[str, PyTree], index: Array | int):
        (_, (loss, state, metrics)), gradients = jax.value_and_grad(scaled_loss, has_aux=True)(
            params, state, part_of(batch, accumulate, index), jax.random.fold_in(key, index)
        )
        # Here, so that a device keeps no sums over the batch but those of its own part.
        return state, (loss, options.place(player.name, gradients), metrics)

    if accumulate == 1:
        state, means = part(variables.state, 0)
    else:

        def add(carry, index):
            state, sums = carry
            state, terms = part(state, index)
            loss, gradients, metrics = jax.tree.map(jnp.add, sums, terms)
            return (state, (loss, options.place(player.name, gradients), metrics)), None

        shapes = jax.eval_shape(part, variables.state, 0)[1]
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (state, sums), _ = jax.lax.scan(
            add, (variables.state, zeros), jnp.arange(accumulate), unroll=options.unroll
        )
        means = jax.tree.map(lambda total: total / accumulate, sums)
    loss, gradients, metrics = means
    gradients = jax.tree.map(lambda gradient: gradient / scale, gradients)
    return loss, gradients, state, metrics


def part_of(batch: Batch, parts: int, index: Array | int) -> Batch:
    """One of the equal parts of a batch: every `parts`-th row.

    Not a block of rows: those of one device would then go to another.
    """
    if parts == 1:
        return batch
    return jax.tree.map(lambda rows: rows.reshape(-1, parts, *rows.shape[1:])[:, index], batch)


def _move_averages(variables: Variables, averages: Mapping[str, Average], time: Time) -> Variables:
    moved = {}
    for name, average in averages.items():
        decay = average.decay(time)
        moved[name] = jax.tree.map(
            lambda old, new, decay=decay: _toward(old, new, decay),
            variables.averages[name],
            average.of(variables),
        )
    return variables.replace(averages=moved)


def _toward(old: Array, new: Array, decay: Array | float) -> Array:
    if not jnp.issubdtype(old.dtype, jnp.inexact):
        return new  # a counter has no average
    return (old + (1 - decay) * (new - old)).astype(old.dtype)


def _choose(condition: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
