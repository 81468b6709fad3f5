"""From a validated config to the objects of a run; shared by every verb."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key, PyTree

from dlresearch.config import Component, Duration, Experiment, build
from dlresearch.data import EPOCH, EXAMPLE, TrainingOrder, apply_all, evaluation_batches
from dlresearch.errors import UserError, located, suggest
from dlresearch.optim import make_optimizer
from dlresearch.parallel import check_batch_size
from dlresearch.tasks import Average, Task, Variables
from dlresearch.training.evaluations import Evaluation, make_evaluations
from dlresearch.training.every import Every
from dlresearch.training.feed import Feed
from dlresearch.training.layout import Layout, mesh_of
from dlresearch.training.models import MakeModel
from dlresearch.training.state import TrainState, initial_variables
from dlresearch.training.step import PlayerOptimizer, StepOptions, draws_of, make_step

EVALUATION_AVERAGE = "evaluation"


@dataclass(frozen=True)
class Schedule:
    """When things happen.

    Attributes:
      total: steps of the run.
      epoch: steps of an epoch.
      log: steps between two records; whole, as the step itself starts the means anew.
      checkpoint: when to save, beside the end.
    """

    total: int
    epoch: float
    log: int
    checkpoint: Every


class Setup:
    """The objects of a run. What is slow or large is made when first asked for.

    Args:
      devices: plan for so many, which need not be there; nothing can be computed then. None takes
        those there are.

    Attributes:
      planned: only shapes and their places on the devices are known.

    Raises:
      UserError: anything in the config that does not fit the data, the devices or another part.
    """

    def __init__(self, experiment: Experiment, devices: int | None = None):
        self.experiment = experiment
        self.planned = devices is not None
        self.mesh: Mesh = mesh_of(experiment, devices)
        data = experiment.data
        self.source: Any = build(data.source, "source", "config.data.source")
        if len(self.source) == 0:
            raise UserError("config.data.source: it has no examples")
        self.transforms = _build_all(data.transforms, "transform", "config.data.transforms")
        self.preprocess = _build_all(data.preprocess, "augmentation", "config.data.preprocess")
        self.metadata: Mapping[str, Any] = getattr(self.source, "metadata", {})
        known = {name: self.metadata[name] for name in ("num_classes",) if name in self.metadata}
        self.augmentations = _build_all(
            data.augmentations, "augmentation", "config.data.augmentations", **known
        )
        self._visits = any(getattr(each, "reads_visit", False) for each in self.augmentations)
        for index, part in enumerate(self.preprocess):
            if getattr(part, "random", False):
                raise UserError(
                    f"config.data.preprocess.{index}: it is random; move it to"
                    " config.data.augmentations"
                )
        self.task: Task = build(
            experiment.task,
            "task",
            "config.task",
            make_model=MakeModel(experiment),
            metadata=self.metadata,
        )
        self.examples_per_step = experiment.batch_size * draws_of(self.task)
        check_batch_size(self.mesh, self.examples_per_step)
        check_batch_size(
            self.mesh,
            experiment.batch_size // experiment.accumulate,
            "config.batch_size / config.accumulate",
        )
        self.order = TrainingOrder(len(self.source), experiment.seed, self.examples_per_step)
        self.schedule = self._schedule()
        self.averages = {**self.task.averages, **self._evaluation_average()}
        variables = jax.eval_shape(self._first_variables)
        self._params = variables.params
        self._layout = Layout(experiment, self.mesh, variables)
        self.optimizers = self._optimizers()
        self._initial, self.step = make_step(self.task, self._step_options())
        self.evaluations: dict[str, Evaluation] = make_evaluations(
            experiment, self.mesh, self.transforms, self.every, self.task
        )

    # --- what the verbs use ---------------------------------------------------------------------

    def to_steps(self, duration: Duration | str | int) -> int:
        """A duration of this run in steps."""
        return _nearest(self._steps(Duration.parse(duration), self.schedule.total))

    def every(self, duration: Duration) -> Every:
        """When what has this period is due."""
        return Every(self._steps(duration, self.schedule.total))

    def make_feed(self) -> Feed:
        """The training examples."""
        data = self.experiment.data
        return Feed(
            self.source,
            self.transforms,
            self.order,
            self.mesh,
            placement=data.placement,
            workers=data.workers,
            prefetch=data.prefetch,
            check=self._check_examples,
            visits=self._visits,
        )

    @cached_property
    def batch_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Of the global batch a step reads, before preprocessing; read from the first example."""
        first = next(evaluation_batches(self.source, self.transforms, 1, slice(0, 1)))
        del first["mask"]
        if self._visits:
            if taken := sorted({EXAMPLE, EPOCH} & first.keys()):
                raise UserError(
                    f"config.data.augmentations: examples have a key {taken[0]!r} of their own,"
                    " which one of these needs for something else; rename it with"
                    " config.data.transforms"
                )
            first |= dict.fromkeys((EXAMPLE, EPOCH), np.zeros(1, np.int32))
        return {
            name: jax.ShapeDtypeStruct((self.examples_per_step, *value.shape[1:]), value.dtype)
            for name, value in first.items()
        }

    def initial_state(self) -> TrainState:
        """The state at step 0, on the mesh."""
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state)
        return jax.jit(self._first_state, out_shardings=shardings)()

    @cached_property
    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the state; costs no memory."""
        return self._layout.placed(jax.eval_shape(self._first_state))

    def predict(self, variables: Variables, batch: Mapping[str, Array]) -> Any:
        """What evaluators read: the task's prediction for a batch as the source gives it."""
        return self.task.predict(self._layout.gather(variables), self._preprocessed(dict(batch)))

    def evaluation_variables(self, variables: Variables) -> Variables:
        """The variables to evaluate: with the moving average in place where the run keeps one."""
        if EVALUATION_AVERAGE not in variables.averages:
            return variables
        average = variables.averages[EVALUATION_AVERAGE]
        return variables.replace(params=average["params"], state=average["state"])

    @property
    def steps_per_call(self) -> int:
        """Steps in one dispatch."""
        if self.experiment.steps_per_call is not None:
            return self.experiment.steps_per_call
        on_cpu = jax.default_backend() == "cpu"
        return 1 if on_cpu or self.experiment.data.placement != "resident" else 10

    # --- how they are made ----------------------------------------------------------------------

    def _check_examples(self, examples: Mapping[str, np.ndarray]) -> None:
        with located("config.data.source"):
            self.task.check(examples)

    def _steps(self, duration: Duration, total: int | None) -> float:
        return duration.exact_steps(
            steps_per_epoch=self.order.steps_per_epoch,
            batch_size=self.examples_per_step,
            total_steps=total,
        )

    def _schedule(self) -> Schedule:
        experiment = self.experiment
        total = max(1, _nearest(self._steps(experiment.duration, None)))
        return Schedule(
            total=total,
            epoch=self.order.steps_per_epoch,
            log=max(1, _nearest(self._steps(experiment.log.every, total))),
            checkpoint=Every(self._steps(experiment.checkpoint.every, total)),
        )

    def _evaluation_average(self) -> dict[str, Average]:
        options = self.experiment.average
        if not options.decay:
            return {}

        def decay(step: Array) -> Array:
            limit = jnp.float32(options.decay)
            return jnp.minimum(limit, (1.0 + step) / (10.0 + step)) if options.warmup else limit

        def of(variables: Variables) -> PyTree:
            return {"params": variables.params, "state": variables.state}

        return {EVALUATION_AVERAGE: Average(of, decay)}

    def _optimizers(self) -> dict[str, PlayerOptimizer]:
        names = [player.name for player in self.task.players]
        for name in self.experiment.optimizers:
            if name not in names:
                raise UserError(
                    f"config.optimizers.{name}: no player of the task is called that;"
                    f" {suggest(name, names)}"
                )
        optimizers = {}
        for name in names:
            own = name in self.experiment.optimizers
            options = self.experiment.optimizers[name] if own else self.experiment.optimizer
            where = f"config.optimizers.{name}" if own else "config.optimizer"
            transformation, rate = make_optimizer(
                options, self._params[name], self.schedule.total, self.to_steps, where
            )
            optimizers[name] = PlayerOptimizer(transformation, rate, options.clip_norm)
        return optimizers

    def _step_options(self) -> StepOptions:
        return StepOptions(
            seed=self.experiment.seed,
            optimizers=self.optimizers,
            averages=self.averages,
            augment=self._augmented,
            accumulate=self.experiment.accumulate,
            record_every=self.schedule.log,
            scale_loss=self.experiment.precision == "float16",
            gather=self._layout.gather,
            place=self._layout.as_parameters,
        )

    def _augmented(self, key: Key[Array, ""], batch: dict[str, Array]) -> dict[str, Array]:
        """What training sees of a batch, as the source gives it."""
        return self._preprocessed(apply_all(self.augmentations, key, batch))

    def _preprocessed(self, batch: dict[str, Array]) -> dict[str, Array]:
        key = jax.random.key(0)  # none of them is random
        return apply_all(self.preprocess, key, batch, "config.data.preprocess")

    def _first_variables(self) -> Variables:
        # All zeros: `init` reads shapes, and what it computes with the values is compiled away.
        rows = self.experiment.batch_size // self.experiment.accumulate
        batch = {
            name: jnp.zeros((rows, *leaf.shape[1:]), leaf.dtype)
            for name, leaf in self.batch_shapes.items()
        }
        key = jax.random.key(self.experiment.seed)
        return initial_variables(self.task, self.averages, key, self._augmented(key, batch))

    def _first_state(self) -> TrainState:
        batch = {
            name: jnp.zeros(leaf.shape, leaf.dtype) for name, leaf in self.batch_shapes.items()
        }
        return self._initial(self._first_variables(), batch)


def _build_all(
    components: tuple[Component, ...], kind: str, path: str, **context: Any
) -> tuple[Any, ...]:
    return tuple(
        build(component, kind, f"{path}.{index}", **context)
        for index, component in enumerate(components)
    )


def _nearest(steps: float) -> int:
    return math.floor(steps + 0.5)
