"""How good and how varied generated examples are, against real ones."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree, Shaped

from dlresearch import preemption
from dlresearch.config import Component
from dlresearch.data import EXAMPLE
from dlresearch.errors import UserError, suggest
from dlresearch.evaluation.evaluator import Finding, Predict, _Compiled, mesh_of
from dlresearch.evaluation.gan.comparison import LEAST, METRICS, FeatureSet, compare
from dlresearch.evaluation.gan.extractors import Extractor, open_extractor
from dlresearch.evaluation.gan.outputs import generated
from dlresearch.evaluation.sampling import evenly
from dlresearch.evaluation.sources import Examples
from dlresearch.parallel import put_replicated
from dlresearch.tasks import Batch, Variables, require

_MOST_FEATURES = 8192  # a covariance of half a GiB


class SampleQualityEvaluator(_Compiled):
    """Generated against real examples, in features that an extractor makes of both.

    Metrics, as far as `metrics` asks for them: `frechet_distance` (Heusel et al. 2017); with
    `kernel` the unbiased `kernel_distance` and its standard error `kernel_distance_error`
    (Binkowski et al. 2018); `precision` and `recall` (Kynkaanniemi et al. 2019, k = 3); `density`
    and `coverage` (Naeem et al. 2020, k = 5). `samples`, how many were generated. Where the
    extractor is a classifier and examples have a `label`, `accuracy`: the share of generated
    examples that it gives the label they were asked for, which is the reverse of the classification
    accuracy score. With `floor` each figure again for other real examples, `floor_recall`: what a
    perfect generator would get.

    A figure means nothing without the number of samples, the reference and the extractor; the file
    `quality.json` has all of them. Distances in the features of one extractor, or with other
    numbers of samples, cannot be compared with those of another.

    Args:
      extractor: `pixels`; the folder of a run that trained a classifier; or a file,
        pt_inception-2015-12-05-6726825d.pth of pytorch-fid, Inception-v3 as all publish it.
      image: key of the examples, in batches and in what the task gives.
      samples: how many to generate; None takes as many as the source has examples. More take
        further rounds over the examples, with other latents; fewer are spread over them evenly.
      metrics: which of `frechet`, `kernel`, `precision_recall` and `density_coverage`.
      manifold_samples: all but `frechet` need the features of all examples in memory, and compare
        all with all; of more than this they take a random choice, the same every time.
      floor: a source of other real examples, to be compared with the reference in the same way, as
        many as `samples`.
      open_run: opens a run folder; from the trainer.
      examples_of: the examples of a source that is an argument; from the trainer.
      reference: what the real examples are called; from the trainer.
      reference_examples: how many there are; from the trainer.

    Raises:
      UserError: an unknown metric or extractor, too few samples, or generated examples that are of
        another shape or type than the real ones.
    """

    def __init__(
        self,
        extractor: str = "pixels",
        image: str = "image",
        samples: int | None = None,
        metrics: tuple[str, ...] = tuple(METRICS),
        manifold_samples: int = 10_000,
        floor: Component | None = None,
        open_run: Callable[[str], Extractor] | None = None,
        examples_of: Callable[[Component, str], Examples] | None = None,
        reference: str = "the reference",
        reference_examples: int | None = None,
    ):
        super().__init__()
        for metric in metrics:
            if metric not in METRICS:
                raise UserError(f"metrics: no {metric!r}; {suggest(metric, METRICS)}")
        for name, count in (("samples", samples), ("manifold_samples", manifold_samples)):
            if count is not None and count < LEAST:
                raise UserError(f"{name}={count} is too few; give at least {LEAST}")
        self.image, self.samples, self.metrics = image, samples, metrics
        self.manifold_samples = manifold_samples
        self.reference, self.reference_examples = reference, reference_examples
        self.extractor = open_extractor(extractor, open_run)
        self.about = ""
        self._floor: Examples | None = None
        if floor is not None:
            if examples_of is None:
                raise UserError("floor: there is no trainer here that could open it")
            self._floor = examples_of(floor, "floor")
        self._arrays: PyTree = None  # of the extractor, on the mesh
        # Of real examples, once all were seen: they are the same every time.
        self._kept: FeatureSet | None = None
        self._kept_floor: dict[str, float] | None = None

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        total = self.reference_examples
        if total is None:
            batches = list(batches)
            total = sum(int(batch["mask"].sum()) for batch in batches)
        samples = self.samples or total
        if self._kept is not None and self._kept.count != total:
            self._kept = self._kept_floor = None
        real, fake = self._kept or self._set(total), self._set(max(samples, total))
        correct: list[np.ndarray] = []
        calls = self._calls(predict, variables, batches, total, samples)
        for call, found in _one_behind(calls):
            if call.kind == "real":
                real.add(call.places[found["mask"]], found["features"][found["mask"]])
                continue
            wanted = found["mask"] & _wanted(call.places, samples, total)
            fake.add(call.places[wanted], found["features"][wanted])
            correct += [found["correct"][wanted]] if "correct" in found else []
        self._kept = real if real.count == total else None
        # A run that only tries its evaluators gives one batch.
        complete = real.count == total and fake.count == samples
        self.about = (
            f"{fake.count:,} samples against {real.count:,} of {self.reference};"
            f" {self.extractor.about}"
        )
        findings = self._compared(real, fake, complete)
        if correct:
            findings["accuracy"] = float(np.mean(np.concatenate(correct)))
        findings["samples"] = float(fake.count)
        if self._floor is not None:
            floor = self._kept_floor or self._of_floor(self._floor, real, samples, complete)
            self._kept_floor = floor if complete else None
            findings |= floor
        triple = {
            "about": self.about,
            "samples": fake.count,
            "reference": self.reference,
            "reference_examples": real.count,
            "extractor": self.extractor.about,
        }
        return {**findings, "quality.json": json.dumps({**findings, **triple}, indent=2)}

    def _calls(
        self,
        predict: Predict,
        variables: Variables,
        batches: Iterable[Batch],
        total: int,
        samples: int,
    ) -> Iterator["_Call"]:
        """Features of real and of generated examples, batch by batch."""
        first = 0
        for batch in batches:
            places = np.arange(first, first + len(batch["mask"]))
            first += len(places)
            if samples > total:
                require(batch, EXAMPLE, "samples")  # without it a round would repeat the one before
            if self._kept is None:
                preemption.check()
                yield _Call("real", places, self._real_features(batch))
            for start in range(0, samples, total):
                if _wanted(start + places, samples, total).any():
                    preemption.check()
                    found = self._generated_features(predict, variables, batch, start)
                    yield _Call("generated", start + places, found)

    def _real_features(self, batch: Batch) -> PyTree:
        def step(arrays: PyTree, batch: Batch) -> PyTree:
            images = require(batch, self.image, "image")
            return {"features": self._features(arrays, images), "mask": batch["mask"]}

        return self._call_step("real", step, self._extractor_arrays(batch), batch)

    def _generated_features(
        self, predict: Predict, variables: Variables, batch: Batch, start: int
    ) -> PyTree:
        """Of the examples generated for a batch in the round whose first sample is `start`."""

        def step(given: tuple[Variables, PyTree, Array], batch: Batch) -> PyTree:
            variables, arrays, start = given
            asked = batch
            if EXAMPLE in batch:
                asked = {**batch, EXAMPLE: batch[EXAMPLE] + start}
            images = generated(predict(variables, asked), self.image)
            _check_alike(images, require(batch, self.image, "image"))
            found = {"features": self._features(arrays, images), "mask": batch["mask"]}
            if self.extractor.logits is not None and "label" in batch:
                predicted = self.extractor.logits(arrays, images).argmax(axis=-1)
                found["correct"] = predicted == batch["label"]
            return found

        at = _everywhere(np.asarray(start, np.int32), mesh_of(batch))
        given = (variables, self._extractor_arrays(batch), at)
        return self._call_step(predict, step, given, batch)

    def _features(
        self, arrays: PyTree, images: Shaped[Array, "batch ..."]
    ) -> Float[Array, "batch features"]:
        features = self.extractor.features(arrays, images)
        if "frechet" in self.metrics and features.shape[1] > _MOST_FEATURES:
            raise UserError(
                f"extractor: {features.shape[1]:,} features ({self.extractor.about}) are too many"
                f" for a Frechet distance, which takes up to {_MOST_FEATURES:,}; choose another"
                " extractor, or leave frechet out of metrics"
            )
        return features

    def _extractor_arrays(self, batch: Batch) -> PyTree:
        if self._arrays is None:
            self._arrays = _everywhere(self.extractor.variables, mesh_of(batch))
        return self._arrays

    def _of_floor(
        self, floor: Examples, real: FeatureSet, samples: int, complete: bool
    ) -> dict[str, float]:
        """The figures of up to `samples` other real examples."""
        other = self._set(len(floor))
        first = 0
        for batch in floor:
            preemption.check()
            places = np.arange(first, first + len(batch["mask"]))
            first += len(places)
            found = jax.device_get(self._real_features(batch))
            wanted = found["mask"] & evenly(places, samples, len(floor))
            other.add(places[wanted], found["features"][wanted])
            if not complete:
                break
        figures = {**self._compared(real, other, complete), "samples": float(other.count)}
        return {f"floor_{name}": value for name, value in figures.items()}

    def _compared(self, real: FeatureSet, other: FeatureSet, complete: bool) -> dict[str, float]:
        if not complete and min(real.count, other.count) < LEAST:
            return {name: float("nan") for metric in self.metrics for name in METRICS[metric]}
        return compare(real, other, self.metrics)

    def _set(self, total: int) -> FeatureSet:
        return FeatureSet(self.metrics, total, self.manifold_samples)


class _Call(NamedTuple):
    """What the device was asked for.

    Attributes:
      kind: `real` or `generated`.
      places: of the rows among all examples of the kind.
      found: `features` and `mask`, and perhaps `correct`, [batch, ...].
    """

    kind: str
    places: Int[np.ndarray, " batch"]
    found: PyTree


def _wanted(places: Int[np.ndarray, " batch"], samples: int, total: int) -> np.ndarray:
    """Which of the samples that rounds over `total` examples give are among `samples`."""
    return places < samples if samples > total else evenly(places, samples, total)


def _one_behind(calls: Iterable[_Call]) -> Iterator[tuple[_Call, dict[str, np.ndarray]]]:
    """Each call with what it found, fetched once the device has the next one to work on."""
    ahead: _Call | None = None
    for call in calls:
        if ahead is not None:
            yield ahead, jax.device_get(ahead.found)
        ahead = call
    if ahead is not None:
        yield ahead, jax.device_get(ahead.found)


def _check_alike(images: Shaped[Array, "batch ..."], real: Shaped[Array, "batch ..."]) -> None:
    if images.shape != real.shape or images.dtype != real.dtype:
        raise UserError(
            f"generated examples are {images.dtype} {list(images.shape)}, and the real ones"
            f" {real.dtype} {list(real.shape)}; they must be alike to be compared"
        )


def _everywhere(arrays: PyTree, mesh: Mesh | None) -> PyTree:
    """The same arrays, whole on every device of the mesh."""
    if mesh is None:
        return arrays
    leaves, tree = jax.tree.flatten(arrays)
    named = {str(number): np.asarray(leaf) for number, leaf in enumerate(leaves)}
    put = put_replicated(mesh, named)
    return jax.tree.unflatten(tree, [put[str(number)] for number in range(len(leaves))])
