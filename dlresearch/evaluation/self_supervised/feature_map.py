"""A map of features: every example a point of a plane, in the colour of its class."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from dlresearch.data import EXAMPLE
from dlresearch.errors import UserError, suggest
from dlresearch.evaluation.evaluator import Finding, Predict
from dlresearch.evaluation.self_supervised.some_features import FEATURES, SomeFeatures
from dlresearch.tasks import Batch, Variables

METHODS = ("pca", "tsne")
_LEAST = 4  # examples of a map by tsne
_MOST_NAMES = 20  # classes in the legend


class FeatureMapEvaluator(SomeFeatures):
    """A map of features in two dimensions, to look at.

    Files: `map.png`, in the colours of the classes where there are labels, and `map.csv` with
    `example`, its number in the source, `x`, `y` and `class`. By principal components the axes are
    the two directions in which features vary most, with the sign that makes the largest part of
    each positive. The distances of t-SNE (van der Maaten and Hinton 2008) mean little beyond the
    nearest neighbours, and the sizes of its clusters nothing.

    Args:
      method: `pca` or `tsne`.
      most: of a source with more examples it takes so many, spread evenly.
      perplexity: of t-SNE, about how many neighbours a point has; at most a third of the examples.
      labels: key of the classes.
      class_names: for the legend; None takes what the source says, or else numbers.
      outputs_of: gives features; from the trainer.
      reference: what the source is called; from the trainer.
      reference_examples: how many examples it has; from the trainer.

    Raises:
      UserError: a number or method that cannot be, or a task that gives no features.
    """

    def __init__(
        self,
        method: str = "pca",
        most: int = 2000,
        perplexity: float = 30.0,
        labels: str = "label",
        class_names: tuple[str, ...] | None = None,
        outputs_of: Callable[[str], Predict] | None = None,
        reference: str = "the source",
        reference_examples: int | None = None,
    ):
        if method not in METHODS:
            raise UserError(f"method: there is no {method!r}; {suggest(method, METHODS)}")
        if most < _LEAST:
            raise UserError(f"most={most}: must be at least {_LEAST}")
        if perplexity <= 0:
            raise UserError(f"perplexity={perplexity}: must be positive")
        super().__init__(outputs_of)
        self.method, self.most, self.perplexity = method, most, perplexity
        self.labels, self.class_names = labels, class_names
        self.reference, self.reference_examples = reference, reference_examples
        self.about = ""

    def run(
        self, predict: Predict, variables: Variables, batches: Iterable[Batch]
    ) -> Mapping[str, Finding]:
        del predict
        total, keys = self.reference_examples, (self.labels,)
        found, _ = self._some(variables, batches, self.most, total, keys)
        features = found[FEATURES]
        finite = np.asarray(np.isfinite(features).all(axis=1))
        if np.count_nonzero(finite) < (_LEAST if self.method == "tsne" else 1):
            raise UserError(
                f"{np.count_nonzero(finite)} of {len(finite)} examples have finite features; that"
                " is too few for a map"
            )
        features = features[finite]
        if self.method == "tsne":
            points, axes = tsne(features, self.perplexity), ("", "")
            by = f"t-SNE, perplexity {_perplexity(len(features), self.perplexity):g}"
        else:
            points, share = principal_components(features)
            axes = tuple(
                f"component {number}: {100 * part:.1f} % of the variance"
                for number, part in enumerate(share, 1)
            )
            by = f"principal components, {100 * share.sum():.1f} % of the variance"
        self.about = f"{len(points):,} examples of {self.reference}; {by}"
        table = pd.DataFrame({"example": found[EXAMPLE][finite], "x": points[:, 0]})
        table["y"] = points[:, 1]
        labels = None
        if self.labels in found:
            labels = found[self.labels][finite]
            table["class"] = [self._name(label) for label in labels]
        return {
            "map.png": _scatter(points, labels, self._name, axes, self.about),
            "map.csv": table.to_csv(index=False, float_format="%.6g"),
        }

    def _name(self, label: int) -> str:
        names = self.class_names or ()
        return names[label] if 0 <= label < len(names) else str(label)


def principal_components(
    features: Float[np.ndarray, "example features"],
) -> tuple[Float[np.ndarray, "example 2"], Float[np.ndarray, " 2"]]:
    """Coordinates on the first two principal components, and their shares of the variance.

    The entry of a component with the largest magnitude is positive. What features do not have, such
    as a second direction in which they vary, is zero.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, values, components = np.linalg.svd(centred, full_matrices=False)
    largest = np.abs(components).argmax(axis=1)
    signs = np.where(np.take_along_axis(components, largest[:, None], axis=1)[:, 0] < 0, -1.0, 1.0)
    points = (left * (signs * values))[:, :2]
    share = values[:2] ** 2 / max(np.sum(values**2), np.finfo(float).tiny)
    missing = 2 - len(share)
    return np.pad(points, ((0, 0), (0, missing))), np.pad(share, (0, missing))


def tsne(
    features: Float[np.ndarray, "example features"], perplexity: float
) -> Float[np.ndarray, "example 2"]:
    """t-SNE of scikit-learn from principal components, the same for the same features."""
    from sklearn.manifold import TSNE  # slow to import, and only wanted here
    from threadpoolctl import threadpool_limits

    method = TSNE(
        init="random" if min(features.shape) < 2 else "pca",
        perplexity=_perplexity(len(features), perplexity),
        random_state=0,
    )
    # Its threads wait for each other at every step, which takes far longer than one of them alone
    # where something else keeps the cores busy.
    with threadpool_limits(1):
        return method.fit_transform(features)


def _perplexity(examples: int, perplexity: float) -> float:
    return min(perplexity, (examples - 1) / 3)


def _scatter(
    points: Float[np.ndarray, "example 2"],
    labels: Int[np.ndarray, " example"] | None,
    name: Callable[[int], str],
    axes_labels: Sequence[str],
    title: str,
) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    figure = Figure(figsize=(8, 6.5), layout="constrained")
    axes = figure.subplots()
    classes = np.unique(np.zeros(len(points), int) if labels is None else labels)
    places = np.arange(len(classes))
    listed = "tab10" if len(classes) <= 10 else "tab20"  # maps whose colours go by whole numbers
    named = listed if len(classes) <= _MOST_NAMES else "hsv"
    colours = matplotlib.colormaps[named](places if named == listed else places / len(places))
    for colour, label in zip(colours, classes, strict=True):
        here = points if labels is None else points[labels == label]
        axes.plot(*here.T, ".", color=colour, markersize=4, alpha=0.7, label=name(int(label)))
    axes.set(xlabel=axes_labels[0], ylabel=axes_labels[1], xticks=[], yticks=[])
    axes.set_title(title, fontsize="medium")
    if labels is not None and len(classes) <= _MOST_NAMES:
        figure.legend(loc="outside right upper", markerscale=3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()
