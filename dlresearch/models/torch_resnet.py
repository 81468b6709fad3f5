"""Names and layouts of PyTorch's ResNet weights, as torchvision and timm write them.

Both give `resnet18` to `resnet152` the same names, those of torchvision/models/resnet.py. They are
`ResNet` of version 1 with the stem `imagenet`.
"""

import re
from typing import NamedTuple

Axes = tuple[int, ...]

MARK = "layer1.0.conv1.weight"
"""A name that every such network has."""
COUNTER = "num_batches_tracked"
"""The end of the names of what PyTorch counts for averages of another kind; has no place here."""

_NAME = re.compile(r"(?:layer(\d+)\.(\d+)\.)?(.+)\.(\w+)")
_OUTSIDE = {"conv1": "stem_conv", "bn1": "stem_norm", "fc": "head"}
_IN_BLOCK = {
    **{f"conv{number}": f"conv_{number}" for number in (1, 2, 3)},
    **{f"bn{number}": f"norm_{number}" for number in (1, 2, 3)},
    "downsample.0": "shortcut_conv",
    "downsample.1": "shortcut_norm",
}
# By kind of layer and name in PyTorch: collection, name here, axes.
_ARRAYS: dict[str, dict[str, tuple[str, str, Axes]]] = {
    "conv": {"weight": ("", "kernel", (2, 3, 1, 0))},  # [out, in, height, width] in PyTorch
    "norm": {
        "weight": ("", "scale", (0,)),
        "bias": ("", "bias", (0,)),
        "running_mean": ("batch_stats/", "mean", (0,)),
        "running_var": ("batch_stats/", "var", (0,)),
    },
    "head": {"weight": ("", "kernel", (1, 0)), "bias": ("", "bias", (0,))},  # [out, in]
}


class Place(NamedTuple):
    """Where an array of PyTorch belongs.

    Attributes:
      path: of the parameter, or, with `batch_stats/` in front, of the batch statistic.
      axes: of the array in PyTorch, in the order they have here.
    """

    path: str
    axes: Axes


def place_of(name: str) -> Place | None:
    """Where the array called `name` belongs; None if no ResNet has such an array.

    `layer2.0.bn1.running_var` belongs at `batch_stats/stages_1/blocks_0/norm_1/var`.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    stage, block, torch_layer, torch_array = match.groups()
    layer = (_OUTSIDE if stage is None else _IN_BLOCK).get(torch_layer)
    if layer is None:
        return None
    kind = next(kind for kind in _ARRAYS if kind in layer)
    if torch_array not in _ARRAYS[kind]:
        return None
    collection, array, axes = _ARRAYS[kind][torch_array]
    inside = "" if stage is None else f"stages_{int(stage) - 1}/blocks_{block}/"
    return Place(f"{collection}{inside}{layer}/{array}", axes)
