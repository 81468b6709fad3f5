"""All that a run is at one step: what a checkpoint holds, and what resuming needs."""

from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt32

from dlresearch.tasks import Average, Task, Variables
from dlresearch.training.arrays import with_arrays

EVALUATION_AVERAGE = "evaluation"
"""The name of the average that evaluators see, of parameters and state."""


class LossScale(flax.struct.PyTreeNode):
    """Dynamic loss scale for float16 (Micikevicius et al. 2018, arXiv:1710.03740, section 3.2)."""

    scale: Float[Array, ""]
    good_steps: Int[Array, ""]

    # Start, growth interval and factors are those of NVIDIA's Apex and torch.amp.GradScaler.
    @staticmethod
    def initial() -> "LossScale":
        return LossScale(jnp.float32(2.0**15), jnp.int32(0))

    def update(self, finite: Bool[Array, ""]) -> "LossScale":
        """Halved after a step that overflowed; doubled after 2,000 that did not."""
        grow = finite & (self.good_steps + 1 >= 2000)
        scale = jnp.where(finite, jnp.where(grow, self.scale * 2, self.scale), self.scale / 2)
        return LossScale(
            jnp.clip(scale, 1.0, 2.0**24), jnp.where(finite & ~grow, self.good_steps + 1, 0)
        )


class Recorded(flax.struct.PyTreeNode):
    """Training metrics since the last record: sums over finite steps, and the steps that were not.

    They live in the state so that a run that was killed between two records, and resumed, writes
    the same means as one that never was.
    """

    sums: dict[str, Float[Array, ""]]
    finite_steps: Int[Array, ""]
    nonfinite_steps: Int[Array, ""]
    first_nonfinite: Int[Array, ""]
    last_nonfinite: Int[Array, ""]

    @staticmethod
    def empty(metrics: Mapping[str, Array]) -> "Recorded":
        zero, none = jnp.int32(0), jnp.int32(-1)
        return Recorded({name: jnp.float32(0) for name in metrics}, zero, zero, none, none)

    def add(
        self, metrics: Mapping[str, Float[Array, ""]], finite: Bool[Array, ""], step: Array
    ) -> "Recorded":
        first = jnp.where(self.first_nonfinite < 0, step, self.first_nonfinite)
        return Recorded(
            sums={
                name: total + jnp.where(finite, metrics[name].astype(jnp.float32), 0.0)
                for name, total in self.sums.items()
            },
            finite_steps=self.finite_steps + finite,
            nonfinite_steps=self.nonfinite_steps + ~finite,
            first_nonfinite=jnp.where(finite, self.first_nonfinite, first),
            last_nonfinite=jnp.where(finite, self.last_nonfinite, step),
        )

    def means(self) -> dict[str, float]:
        """Means over the finite steps, as Python floats; fetches from the device."""
        sums, count = jax.device_get((self.sums, self.finite_steps))
        return {name: float(sums[name]) / int(count) for name in sorted(sums)} if count else {}


class TrainState(flax.struct.PyTreeNode):
    """What a step maps to its successor.

    Attributes:
      seed: of the run; here, and no constant of the step, so that all seeds share one program.
      step: updates made so far.
      optimizers: state of the optimizer of each player, by the player's name.
      loss_scale: only with float16 activations.
    """

    seed: UInt32[Array, ""]
    step: Int[Array, ""]
    variables: Variables
    optimizers: dict[str, optax.OptState]
    recorded: Recorded
    loss_scale: LossScale | None


def initial_variables(
    task: Task,
    averages: Mapping[str, Average],
    key: Key[Array, ""],
    batch: PyTree,
    loaded: Mapping[str, Array],
) -> Variables:
    """`task.init`, with `loaded` arrays in place of those at their paths, and every moving average
    where it then starts.
    """
    variables = with_arrays(task.init(key, batch), loaded)
    # Copies: donated buffers must not be shared between parameters and their average.
    starts = {
        name: jax.tree.map(jnp.copy, average.of(variables)) for name, average in averages.items()
    }
    return variables.replace(averages=starts)
