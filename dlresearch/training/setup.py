"""From a validated config to the objects of a run; shared by every verb."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key, PyTree

from dlresearch.config import Experiment, build, build_all
from dlresearch.data import (
    EPOCH,
    EXAMPLE,
    BucketedOrder,
    Oversampling,
    TrainingOrder,
    apply_all,
    evaluation_batches,
    labels_of,
    make_views,
)
from dlresearch.errors import UserError, located, suggest
from dlresearch.evaluation import Predict
from dlresearch.optim import lazily_regularised, make_optimizer
from dlresearch.parallel import check_batch_size, is_cpu, on_mesh
from dlresearch.tasks import Average, Task, Time, Variables, fold_in_name
from dlresearch.training.call import Kind, Pick, Program
from dlresearch.training.evaluations import Evaluation, make_evaluations
from dlresearch.training.extractors import open_run
from dlresearch.training.feed import Feed
from dlresearch.training.layout import Layout, mesh_of
from dlresearch.training.models import make_task
from dlresearch.training.orders import make_order
from dlresearch.training.schedule import Schedule
from dlresearch.training.stages import Sizes, Stage, at_size
from dlresearch.training.start_from import Loading, plan_loading
from dlresearch.training.state import EVALUATION_AVERAGE, TrainState, initial_variables
from dlresearch.training.step import PlayerOptimizer, StepOptions, draws_of, make_step, part_of


class Setup:
    """The objects of a run. What is slow or large is made when first asked for.

    Args:
      devices: how many to plan for, or those to compile for; they need not be here, and nothing can
        be computed on them. None takes the devices of this process.

    Attributes:
      planned: only shapes and their places on the devices are known.
      programs: compiled steps, so that a second run of this setup compiles none of them again.

    Raises:
      UserError: anything in the config that does not fit the data, the devices or another part.
    """

    def __init__(self, experiment: Experiment, devices: int | Sequence[Any] | None = None):
        self.experiment = experiment
        self._start: Callable[..., TrainState] | None = None
        self.programs: dict[Kind, Program] = {}
        self.planned = devices is not None
        self.mesh: Mesh = mesh_of(experiment, devices)
        data = experiment.data
        self.source: Any = build(data.source, "source", "config.data.source")
        if len(self.source) == 0:
            raise UserError("config.data.source: it has no examples")
        self.transforms = build_all(data.transforms, "transform", "config.data.transforms")
        self.preprocess = build_all(data.preprocess, "augmentation", "config.data.preprocess")
        self.metadata: Mapping[str, Any] = {
            **getattr(self.source, "metadata", {}),
            "shapes": {name: list(value.shape[1:]) for name, value in self._example.items()},
            "dtypes": {name: str(value.dtype) for name, value in self._example.items()},
            "batch_size": experiment.batch_size,
        }
        self._oversampled = self._oversampling()
        known = {name: self.metadata[name] for name in ("num_classes",) if name in self.metadata}
        self.augmentations = build_all(
            data.augmentations, "augmentation", "config.data.augmentations", **known
        )
        self.views = make_views(data.views, **known)
        if self.views is not None and data.resolution:
            raise UserError(
                "config.data.resolution: is not for views; give the size in config.data.views"
            )
        self._visits = any(getattr(each, "reads_visit", False) for each in self.augmentations)
        for index, part in enumerate(self.preprocess):
            if getattr(part, "random", False):
                raise UserError(
                    f"config.data.preprocess.{index}: it is random; move it to"
                    " config.data.augmentations"
                )
        self.task: Task = make_task(experiment, self.metadata)
        self.examples_per_step = experiment.batch_size * draws_of(self.task)
        check_batch_size(self.mesh, self.examples_per_step)
        check_batch_size(
            self.mesh,
            experiment.batch_size // experiment.accumulate,
            "config.batch_size / config.accumulate",
        )
        self.order = self._order_of(experiment.seed)
        self.schedule = Schedule.of(experiment, self.order.steps_per_epoch, self.examples_per_step)
        self._sizes = Sizes.of(data.resolution, self.schedule.to_steps)
        self.averages = {**self.task.averages, **self._evaluation_average()}
        self._variables = jax.eval_shape(self._first_variables, np.uint32(0), self.batch_shapes, {})
        self._layout = Layout(experiment, self.mesh, self._variables)
        self.optimizers = self._optimizers()
        sizes = self._sizes.pairs
        made = [make_step(self.task, self._step_options(pixels)) for _, pixels in sizes]
        made = [(initial, on_mesh(self.mesh, step)) for initial, step in made]
        self._initial, self.step = made[0]
        self.stages = tuple(
            Stage(start, step) for (start, _), (_, step) in zip(sizes, made, strict=True)
        )
        self.evaluations: dict[str, Evaluation] = make_evaluations(
            experiment,
            self.mesh,
            self.transforms,
            self.schedule.every,
            self.task,
            self.metadata,
            open_run=open_run,
            outputs_of=self.outputs_of,
            make_views=self._views_of,
        )

    # --- what the verbs use ---------------------------------------------------------------------

    def make_feed(self, seed: int | None = None, resident: dict[str, Array] | None = None) -> Feed:
        """The training examples.

        Args:
          seed: another one than the config's, for their order.
          resident: those of another feed of this setup, to be shared.
        """
        data = self.experiment.data
        return Feed(
            self.source,
            self.transforms,
            self.order if seed is None else self._order_of(seed),
            self.mesh,
            placement=data.placement,
            workers=data.workers,
            prefetch=data.prefetch,
            check=self._check_examples,
            visits=self._visits,
            resident=resident,
        )

    @cached_property
    def _example(self) -> dict[str, np.ndarray]:
        """The first one, as a batch, before preprocessing."""
        first = next(evaluation_batches(self.source, self.transforms, 1, slice(0, 1)))
        del first["mask"]
        return first

    @cached_property
    def batch_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Of the global batch a step reads, before preprocessing; read from the first example."""
        first = self._example
        if self._visits:
            if taken := sorted({EXAMPLE, EPOCH} & first.keys()):
                raise UserError(
                    f"config.data.augmentations: examples have a key {taken[0]!r} of their own,"
                    " which one of these needs for something else; rename it with"
                    " config.data.transforms"
                )
            first = first | dict.fromkeys((EXAMPLE, EPOCH), np.zeros(1, np.int32))
        return {
            name: jax.ShapeDtypeStruct((self.examples_per_step, *value.shape[1:]), value.dtype)
            for name, value in first.items()
        }

    def initial_state(self, feed: Feed, seed: int | None = None) -> TrainState:
        """The state at step 0, on the mesh; `feed` stands at step 0 and stays there.

        `seed` is another one than the config's. The program is the same for all.
        """
        seed = self.experiment.seed if seed is None else seed
        loaded = {} if self.loading is None else self.loading.read()
        if self._start is None:
            self._start = self._make_start(feed.pick)
        return self._start(np.uint32(seed), feed.resident, feed.peek(), loaded)

    @cached_property
    def loading(self) -> Loading | None:
        """What the run starts from, where it does not begin at random; names and shapes only."""
        return plan_loading(self.experiment.start_from, self.abstract_state.variables)

    @cached_property
    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the state; costs no memory."""
        shapes = jax.eval_shape(self._initial, np.uint32(0), self._variables, self.batch_shapes)
        return self._layout.placed(shapes)

    def predict(self, variables: Variables, batch: Mapping[str, Array]) -> Any:
        """What evaluators read: the task's prediction for a batch as the source gives it."""
        return self._asked(self.task.predict, variables, batch)

    def outputs_of(self, method: str) -> Predict:
        """Another method of the task, to be called as `predict`.

        Raises:
          UserError: the task has none of that name.
        """
        asked = getattr(self.task, method, None)
        if asked is None:
            raise UserError(
                f"config.task: {self.experiment.task.name} has no method {method!r}, which this"
                " evaluator reads"
            )
        return partial(self._asked, asked)

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
        return 1 if is_cpu(self.mesh) or self.experiment.data.placement != "resident" else 10

    def due(self, step: int, steps: int = 1) -> tuple[str, ...] | None:
        """The players whose regularisers a call of so many steps applies; None where the device
        finds out.

        On CPU a step is compiled for each answer: XLA:CPU runs a convolution under a condition far
        slower than outside of one.
        """
        if self._periods and (steps > 1 or not is_cpu(self.mesh)):
            return None
        return tuple(name for name, every in self._periods.items() if step % every == 0)

    # --- how they are made ----------------------------------------------------------------------

    def _asked(self, method: Predict, variables: Variables, batch: Mapping[str, Array]) -> Any:
        asked = on_mesh(self.mesh, method)
        return asked(self._layout.gather(variables), self._preprocessed(dict(batch)))

    def _views_of(self, key: Key[Array, ""], batch: Mapping[str, Array]) -> dict[str, Array]:
        """An evaluation batch with the views that training would see, before preprocessing."""
        if self.views is None:
            raise UserError("config.data.views: this run has none, and this evaluator shows them")
        return self.views(key, dict(batch))

    @cached_property
    def _periods(self) -> dict[str, int]:
        """Steps between two updates along the regulariser of a player, where it has one."""
        players = self.task.players
        return {p.name: p.regulariser.every for p in players if p.regulariser is not None}

    def _check_examples(self, examples: Mapping[str, np.ndarray]) -> None:
        with located("config.data.source"):
            self.task.check(examples)

    def _oversampling(self) -> Oversampling | None:
        """None where it is off; else tasks find the counts of an epoch in the metadata."""
        share = self.experiment.data.oversample
        if not share:
            return None
        with located("config.data.source"):
            labels = labels_of(self.source)
        with located("config.data.oversample"):
            oversampling = Oversampling(labels, share)
        counts = oversampling.class_counts(self.metadata.get("num_classes"))
        self.metadata = {**self.metadata, "class_counts": counts}
        return oversampling

    def _order_of(self, seed: int) -> TrainingOrder:
        return make_order(
            replace(self.experiment, seed=seed),
            self.source,
            self.metadata,
            self.examples_per_step,
            self._oversampled,
        )

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Lines a user should see: of the source, and of what buckets do."""
        notes = tuple(self.metadata.get("notes", ()))
        if isinstance(self.order, BucketedOrder):
            share, whole = self.order.padding()
            notes += (
                f"padding: {share:.1%} of the tokens in batches, {whole:.1%} without buckets",
            )
        return notes

    def _evaluation_average(self) -> dict[str, Average]:
        options = self.experiment.average
        if not options.decay:
            return {}

        def decay(time: Time) -> Array:
            limit, step = jnp.float32(options.decay), time.step
            return jnp.minimum(limit, (1.0 + step) / (10.0 + step)) if options.warmup else limit

        def of(variables: Variables) -> PyTree:
            return {"params": variables.params, "state": variables.state}

        return {EVALUATION_AVERAGE: Average(of, decay)}

    def _optimizers(self) -> dict[str, PlayerOptimizer]:
        players = {player.name: player for player in self.task.players}
        for name in self.experiment.optimizers:
            if name not in players:
                raise UserError(
                    f"config.optimizers.{name}: no player of the task is called that;"
                    f" {suggest(name, players)}"
                )
        optimizers = {}
        for name, player in players.items():
            own = name in self.experiment.optimizers
            options = self.experiment.optimizers[name] if own else self.experiment.optimizer
            where = f"config.optimizers.{name}" if own else "config.optimizer"
            updates = Fraction(player.repeats)
            if player.regulariser is not None:
                every = player.regulariser.every
                options, updates = (
                    lazily_regularised(options, every, where),
                    updates + Fraction(1, every),
                )
            transformation, rate = make_optimizer(
                options,
                self._variables.params[name],
                self.schedule.total,
                self.schedule.to_steps,
                where,
                updates,
            )
            optimizers[name] = PlayerOptimizer(transformation, rate, options.clip_norm)
        return optimizers

    def _step_options(self, pixels: int | None) -> StepOptions:
        return StepOptions(
            optimizers=self.optimizers,
            averages=self.averages,
            augment=partial(self._augmented, pixels=pixels),
            accumulate=self.experiment.accumulate,
            unroll=is_cpu(self.mesh),
            record_every=self.schedule.log,
            scale_loss=self.experiment.precision == "float16",
            total_steps=self.schedule.total,
            gather=self._layout.gather,
            place=self._layout.as_parameters,
        )

    def _augmented(
        self, key: Key[Array, ""], batch: dict[str, Array], pixels: int | None
    ) -> dict[str, Array]:
        """What training sees of a batch, as the source gives it."""
        batch = at_size(apply_all(self.augmentations, key, batch), pixels)
        if self.views is not None:
            batch = self.views(fold_in_name(key, "views"), batch)
        return self._preprocessed(batch)

    def _preprocessed(self, batch: dict[str, Array]) -> dict[str, Array]:
        if self.views is not None:
            batch = self.views.preprocessed(self.preprocess, batch)
        key = jax.random.key(0)  # none of them is random
        return apply_all(self.preprocess, key, batch, "config.data.preprocess")

    def _make_start(self, pick: Pick) -> Callable[..., TrainState]:
        def start(
            seed: Array, resident: dict[str, Array], taken: Any, loaded: Mapping[str, Array]
        ) -> TrainState:
            return self.first_state(seed, pick(resident, taken), loaded)

        shardings = jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state)
        return jax.jit(start, out_shardings=shardings)

    def _first_variables(
        self, seed: Array, batch: dict[str, Array], loaded: Mapping[str, Array]
    ) -> Variables:
        # Where `init` reads only shapes, what is computed with the values is compiled away.
        key = jax.random.key(seed)
        seen = self._augmented(key, batch, self._sizes.pairs[0][1])
        rows = part_of(seen, draws_of(self.task) * self.experiment.accumulate, 0)
        return initial_variables(self.task, self.averages, key, rows, loaded)

    def first_state(
        self, seed: Array, batch: dict[str, Array], loaded: Mapping[str, Array]
    ) -> TrainState:
        """What `initial_state` computes on the device, from the first batch and what is loaded."""
        return self._initial(seed, self._first_variables(seed, batch, loaded), batch)
