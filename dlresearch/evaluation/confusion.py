"""Which classes are taken for which: a table, and a picture."""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

# Above so many classes the picture has no room for numbers in its cells, or names at its sides.
_MOST_NUMBERS, _MOST_NAMES = 20, 60


def class_table(counts: Int[np.ndarray, "class predicted"], class_names: Sequence[str]) -> str:
    """CSV: precision, recall, F1 and support (examples) of each class; 0 where undefined."""
    right, support, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    table = pd.DataFrame(
        {
            "class": class_names,
            "precision": right / np.maximum(predicted, 1),
            "recall": right / np.maximum(support, 1),
            "f1": 2 * right / np.maximum(support + predicted, 1),
            "support": support,
        }
    )
    return table.to_csv(index=False, float_format="%.6f")


def mean_recall(counts: Int[np.ndarray, "class predicted"]) -> float:
    """Balanced accuracy: over the classes that occur."""
    occurs = counts.sum(axis=1) > 0
    return float(np.mean(np.diag(counts)[occurs] / counts.sum(axis=1)[occurs]))


def confusion_picture(
    counts: Int[np.ndarray, "class predicted"], class_names: Sequence[str]
) -> bytes:
    """PNG: a row for each class, coloured by the share of its examples, with their number."""
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    classes = len(class_names)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 2.5 + 0.45 * min(classes, _MOST_NUMBERS)
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the class", shrink=0.8)
    if classes <= _MOST_NUMBERS:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    if classes <= _MOST_NAMES:
        small = "small" if classes > _MOST_NUMBERS else None
        axes.set_xticks(range(classes), class_names, rotation=90, fontsize=small)
        axes.set_yticks(range(classes), class_names, fontsize=small)
    axes.set(xlabel="predicted", ylabel="class")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return picture.getvalue()
