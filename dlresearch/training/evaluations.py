"""The evaluators of a run, each with its examples."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from dlresearch.config import Duration, Experiment, build
from dlresearch.data import Buckets, evaluation_batches, load_all
from dlresearch.errors import UserError, located, suggest
from dlresearch.evaluation import Evaluator, Finding, OverViews, Predict, Views
from dlresearch.parallel import check_batch_size, process_rows, put_batch
from dlresearch.tasks import Batch, Task, Variables
from dlresearch.training.every import Every

# Of a source, what an evaluator may ask for.
_KNOWN = ("class_names", "vocabularies", "characters_per_token", "scale")


@dataclass(frozen=True)
class Outcome:
    """What evaluators found.

    Attributes:
      metrics: by name, `evaluation/metric`.
      files: their contents by name, `evaluation/name.suffix`.
    """

    metrics: Mapping[str, float]
    files: Mapping[str, bytes]


@dataclass
class Evaluation:
    """An evaluator, its examples and when it is due.

    Attributes:
      every: when it is due, beside the end.
      at_start: also at step 0.
      views: what predictions are means over; None takes the images as they are.
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
    views: Views | None = None
    best: str | None = None
    buckets: Buckets | None = None
    _kept: list[Batch] = field(default_factory=list)

    def due(self, step: int, total: int) -> bool:
        return step == total or self.every.due(step) or (step == 0 and self.at_start)

    def run(self, predict: Predict, variables: Variables) -> Outcome:
        """Metrics and files."""
        return self._run(predict, variables, self._batches())

    def run_on_one_batch(self, predict: Predict, variables: Variables) -> Outcome:
        """As `run`, on the first batch only: to see that it works."""
        return self._run(predict, variables, islice(self._batches(), 1))

    def _run(self, predict: Predict, variables: Variables, batches: Iterator[Batch]) -> Outcome:
        if self.views is not None:
            predict = OverViews(predict, self.views)
        with located(f"config.evaluators.{self.name}"):
            found = self.evaluator.run(predict, variables, batches)
            metrics, files = _sorted_out(found, self.name)
        if self.best is not None and self.best not in metrics:
            raise UserError(
                f"config.checkpoint.best: there is no {self.best!r}; {suggest(self.best, metrics)}"
            )
        return Outcome(metrics, files)

    def _batches(self) -> Iterator[Batch]:
        if self._kept:
            yield from self._kept
            return
        rows = process_rows(self.mesh, self.batch_size)
        examples = load_all(self.source, self.transforms) if self.resident else self.source
        transforms = () if self.resident else self.transforms
        kept, places = [], np.arange(len(self.source))
        batches = evaluation_batches(examples, transforms, self.batch_size, rows)
        for number, batch in enumerate(batches):
            if self.buckets is not None:
                # Those of all processes, so that they agree.
                first = number * self.batch_size
                width = self.buckets.width(places[first : first + self.batch_size])
                batch = self.buckets.trim(batch, width)
            self.task.check(batch)
            on_device = put_batch(self.mesh, batch)
            if self.resident:
                kept.append(on_device)
            yield on_device
        self._kept = kept  # only once all were read: a preempted evaluation keeps nothing


def _sorted_out(
    found: Mapping[str, Finding], evaluation: str
) -> tuple[dict[str, float], dict[str, bytes]]:
    """Metrics and files, each with the evaluation's name in front."""
    metrics, files = {}, {}
    for name, value in found.items():
        if not isinstance(value, bytes | str):
            metrics[f"{evaluation}/{name}"] = value
            continue
        if Path(name).name != name or not Path(name).suffix:
            raise UserError(
                f"{name!r} is {type(value).__name__}, so a file, and that is no name for one; call"
                " it such as 'errors.csv', without a folder"
            )
        files[f"{evaluation}/{name}"] = value.encode() if isinstance(value, str) else value
    return metrics, files


def make_evaluations(
    experiment: Experiment,
    mesh: Mesh,
    transforms: tuple[Any, ...],
    every: Callable[[Duration], Every],
    task: Task,
    vocabularies: Mapping[str, Any] | None,
) -> dict[str, Evaluation]:
    """The evaluations of a config, by name; `vocabularies` are those of the training source."""
    best = experiment.checkpoint.best
    if best is not None and best.split("/")[0] not in experiment.evaluators:
        raise UserError(
            f"config.checkpoint.best: {best!r} is no metric of an evaluator; evaluators:"
            f" {', '.join(experiment.evaluators) or 'none'}"
        )
    evaluations = {}
    for name, options in experiment.evaluators.items():
        path = f"config.evaluators.{name}"
        source: Any = build(options.source, "source", f"{path}.source", vocabularies=vocabularies)
        if len(source) == 0:
            raise UserError(f"{path}.source: it has no examples")
        metadata = getattr(source, "metadata", {})
        known = {key: metadata[key] for key in _KNOWN if key in metadata}
        if hasattr(source, "references"):
            known["references"] = source.references
        evaluations[name] = Evaluation(
            name=name,
            evaluator=build(options, "evaluator", path, **known),
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
            views=None if options.views is None else build(options.views, "view", f"{path}.views"),
            buckets=_buckets(experiment, source, path),
            best=best if best is not None and best.split("/")[0] == name else None,
        )
        check_batch_size(mesh, evaluations[name].batch_size, f"{path}.batch_size")
        streams = metadata.get("streams")
        if streams is not None and streams != evaluations[name].batch_size:
            raise UserError(
                f"{path}.source.streams: {streams}, and a batch has"
                f" {evaluations[name].batch_size} examples, one of each stream; make them equal"
            )
    return evaluations


def _buckets(experiment: Experiment, source: Any, path: str) -> Buckets | None:
    widths = experiment.data.buckets
    if not widths or not getattr(source, "metadata", {}).get("sequences"):
        return None
    with located(f"{path}.source"):
        return Buckets(source, widths)


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
