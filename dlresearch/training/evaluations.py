"""The evaluators of a run, each with its examples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from jax.sharding import Mesh

from dlresearch.config import Duration, Experiment, build
from dlresearch.data import evaluation_batches, load_all
from dlresearch.errors import UserError, located, suggest
from dlresearch.evaluation import Evaluator, Predict
from dlresearch.parallel import check_batch_size, process_rows, put_batch
from dlresearch.tasks import Batch, Task, Variables
from dlresearch.training.every import Every


@dataclass
class Evaluation:
    """An evaluator, its examples and when it is due.

    Attributes:
      every: when it is due, beside the end.
      at_start: also at step 0.
      resident: keep the batches on the device from the first evaluation on.
      best: the metric, with the evaluation's name, that `config.checkpoint.best` expects of it.
    """

    name: str
    evaluator: Evaluator
    source: Any
    transforms: tuple[Any, ...]
    batch_size: int
    mesh: Mesh
    task: Task
    every: Every
    at_start: bool
    resident: bool
    best: str | None = None
    _kept: list[Batch] = field(default_factory=list)

    def due(self, step: int, total: int) -> bool:
        return step == total or self.every.due(step) or (step == 0 and self.at_start)

    def run(self, predict: Predict, variables: Variables) -> dict[str, float]:
        """The metrics, named `evaluation/metric`."""
        return self._run(predict, variables, self._batches())

    def run_on_one_batch(self, predict: Predict, variables: Variables) -> dict[str, float]:
        """As `run`, on the first batch only: to see that it works."""
        return self._run(predict, variables, islice(self._batches(), 1))

    def _run(
        self, predict: Predict, variables: Variables, batches: Iterator[Batch]
    ) -> dict[str, float]:
        with located(f"config.evaluators.{self.name}"):
            metrics = self.evaluator.run(predict, variables, batches)
        named = {f"{self.name}/{name}": value for name, value in metrics.items()}
        if self.best is not None and self.best not in named:
            raise UserError(
                f"config.checkpoint.best: there is no {self.best!r}; {suggest(self.best, named)}"
            )
        return named

    def _batches(self) -> Iterator[Batch]:
        if self._kept:
            yield from self._kept
            return
        rows = process_rows(self.mesh, self.batch_size)
        examples = load_all(self.source, self.transforms) if self.resident else self.source
        transforms = () if self.resident else self.transforms
        kept = []
        for batch in evaluation_batches(examples, transforms, self.batch_size, rows):
            self.task.check(batch)
            on_device = put_batch(self.mesh, batch)
            if self.resident:
                kept.append(on_device)
            yield on_device
        self._kept = kept  # only once all were read: a preempted evaluation keeps nothing


def make_evaluations(
    experiment: Experiment,
    mesh: Mesh,
    transforms: tuple[Any, ...],
    every: Callable[[Duration], Every],
    task: Task,
) -> dict[str, Evaluation]:
    """The evaluations of a config, by name."""
    best = experiment.checkpoint.best
    if best is not None and best.split("/")[0] not in experiment.evaluators:
        raise UserError(
            f"config.checkpoint.best: {best!r} is no metric of an evaluator; evaluators:"
            f" {', '.join(experiment.evaluators) or 'none'}"
        )
    evaluations = {}
    for name, options in experiment.evaluators.items():
        path = f"config.evaluators.{name}"
        source: Any = build(options.source, "source", f"{path}.source")
        if len(source) == 0:
            raise UserError(f"{path}.source: it has no examples")
        evaluations[name] = Evaluation(
            name=name,
            evaluator=build(options, "evaluator", path),
            source=source,
            transforms=transforms
            if options.transforms is None
            else tuple(
                build(component, "transform", f"{path}.transforms.{index}")
                for index, component in enumerate(options.transforms)
            ),
            batch_size=options.batch_size or experiment.batch_size,
            mesh=mesh,
            task=task,
            every=every(options.every),
            at_start=options.at_start,
            resident=experiment.data.placement == "resident",
            best=best if best is not None and best.split("/")[0] == name else None,
        )
        check_batch_size(mesh, evaluations[name].batch_size, f"{path}.batch_size")
    return evaluations


def best_score(
    experiment: Experiment, value: Callable[[int, str], float | None]
) -> Callable[[int], float | None]:
    """How good the checkpoint of a step is; higher is better. None where it was not evaluated."""
    best = experiment.checkpoint.best
    sign = 1.0 if experiment.checkpoint.best_is == "highest" else -1.0

    def score(step: int) -> float | None:
        measured = None if best is None else value(step, best)
        return None if measured is None or measured != measured else sign * measured

    return score
