"""The evaluators of a run, each with its examples."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

from jax.sharding import Mesh
from jax.stages import Traced

from dlresearch.config import Component, Duration, Experiment, build, build_all
from dlresearch.config import Evaluator as Options
from dlresearch.data import Buckets
from dlresearch.errors import UserError, located, suggest
from dlresearch.evaluation import (
    Evaluator,
    Finding,
    OverViews,
    Predict,
    TracedOnly,
    Views,
    source_in_words,
    trace_only,
)
from dlresearch.parallel import batch_shards, check_batch_size
from dlresearch.tasks import Batch, Task, Variables
from dlresearch.training.artifacts import ABOUT, files_by_step
from dlresearch.training.every import Every
from dlresearch.training.examples import Examples

# Of a source, what an evaluator may ask for.
_KNOWN = (
    "class_names",
    "num_classes",
    "vocabularies",
    "characters_per_token",
    "scale",
    "centres",
    "deviation",
)


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
      best: the metric, with the evaluation's name, that `config.checkpoint.best` expects of it.
    """

    name: str
    evaluator: Evaluator
    examples: Examples
    every: Every
    at_start: bool
    views: Views | None = None
    best: str | None = None

    def due(self, step: int, total: int) -> bool:
        return step == total or self.every.due(step) or (step == 0 and self.at_start)

    def run(self, predict: Predict, variables: Variables) -> Outcome:
        """Metrics and files."""
        return self._run(predict, variables, iter(self.examples))

    def run_on_one_batch(self, predict: Predict, variables: Variables) -> Outcome:
        """As `run`, on the first batch only: to see that it works."""
        return self._run(predict, variables, islice(iter(self.examples), 1))

    def traced(self, predict: Predict, variables: Variables) -> Traced | None:
        """Return the program for the first batch, traced only.

        Args:
          variables: shapes with shardings.

        Returns:
          None for an evaluator that runs no program on batches.
        """
        with trace_only():
            try:
                self._run(predict, variables, iter([cast(Batch, self.examples.abstract_batch())]))
            except TracedOnly as stopped:
                return stopped.program
        return None

    def over_training(
        self, artifacts: Path, step: int, files: Mapping[str, bytes]
    ) -> dict[str, bytes]:
        """Files that show how those of this evaluation changed up to this step, from what earlier
        steps left in the folder for artifacts.
        """
        combine = getattr(self.evaluator, "over_training", None)
        if combine is None:
            return {}
        history = files_by_step(artifacts / self.name, before=step)
        history[step] = {Path(name).name: content for name, content in files.items()}
        return _sorted_out(combine(history), self.name)[1]

    def _run(self, predict: Predict, variables: Variables, batches: Iterator[Batch]) -> Outcome:
        if self.views is not None:
            predict = OverViews(predict, self.views)
        with located(f"config.evaluators.{self.name}"):
            found = self.evaluator.run(predict, variables, batches)
            about = getattr(self.evaluator, "about", None)
            noted = {} if about is None else {ABOUT: about}
            metrics, files = _sorted_out({**found, **noted}, self.name)
        if self.best is not None and self.best not in metrics:
            raise UserError(
                f"config.checkpoint.best: there is no {self.best!r}; {suggest(self.best, metrics)}"
            )
        return Outcome(metrics, files)


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
    metadata: Mapping[str, Any],
    **offered: Any,
) -> dict[str, Evaluation]:
    """The evaluations of a config, by name.

    Args:
      metadata: of the training source.
      offered: what else evaluators may ask for.
    """
    best = experiment.checkpoint.best
    if best is not None and best.split("/")[0] not in experiment.evaluators:
        raise UserError(
            f"config.checkpoint.best: {best!r} is no metric of an evaluator; evaluators:"
            f" {', '.join(experiment.evaluators) or 'none'}"
        )
    evaluations = {}
    # Evaluators of one source read it, and hold it, once.
    known: dict[str, Examples] = {}
    for name, options in experiment.evaluators.items():
        path = f"config.evaluators.{name}"
        own = (
            transforms
            if options.transforms is None
            else build_all(options.transforms, "transform", f"{path}.transforms")
        )

        def examples_of(
            component: Component,
            argument: str,
            path: str = path,
            own: tuple[Any, ...] = own,
            options: Options = options,
        ) -> Examples:
            where = f"{path}.{argument}"
            batch_size = options.batch_size or experiment.batch_size
            key = repr((component, options.transforms, batch_size))
            if key in known:
                return known[key]
            source = build(component, "source", where, vocabularies=metadata.get("vocabularies"))
            if len(source) == 0:
                raise UserError(f"{where}: it has no examples")
            # The last batch is filled up anyway. Streams have a row each.
            streams = getattr(source, "metadata", {}).get("streams")
            shards = batch_shards(mesh)
            known[key] = Examples(
                source=source,
                transforms=own,
                batch_size=batch_size if streams else -(-batch_size // shards) * shards,
                mesh=mesh,
                task=task,
                resident=experiment.data.placement == "resident",
                buckets=_buckets(experiment, source, where),
            )
            return known[key]

        examples = examples_of(options.source, "source")
        evaluations[name] = Evaluation(
            name=name,
            evaluator=build(
                options,
                "evaluator",
                path,
                **_known(examples.source),
                reference=source_in_words(options.source),
                reference_examples=len(examples),
                examples_of=examples_of,
                latent=getattr(task, "latent", None),
                **offered,
            ),
            examples=examples,
            every=every(options.every),
            at_start=options.at_start,
            views=None if options.views is None else build(options.views, "view", f"{path}.views"),
            best=best if best is not None and best.split("/")[0] == name else None,
        )
        check_batch_size(mesh, examples.batch_size, f"{path}.batch_size")
        streams = getattr(examples.source, "metadata", {}).get("streams")
        if streams is not None and streams != examples.batch_size:
            raise UserError(
                f"{path}.source.streams: {streams}, and a batch has {examples.batch_size} examples,"
                " one of each stream; make them equal"
            )
    return evaluations


def _known(source: Any) -> dict[str, Any]:
    """What an evaluator may ask for of its source."""
    metadata = getattr(source, "metadata", {})
    known = {key: metadata[key] for key in _KNOWN if key in metadata}
    if hasattr(source, "references"):
        known["references"] = source.references
    return known


def _buckets(experiment: Experiment, source: Any, path: str) -> Buckets | None:
    widths = experiment.data.buckets
    if not widths or not getattr(source, "metadata", {}).get("sequences"):
        return None
    with located(path):
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
