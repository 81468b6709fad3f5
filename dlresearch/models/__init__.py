"""Networks: parameters and a forward pass, nothing else.

`functional` gives Linen and NNX modules one face.
"""

from dlresearch.models.adapter import Model, functional
from dlresearch.models.convnet import ConvNet
from dlresearch.models.flops import count_flops, jaxpr_flops
from dlresearch.models.layers import activation, norm
from dlresearch.models.mlp import MLP
from dlresearch.models.remat import KeepProducts

__all__ = [
    "MLP",
    "ConvNet",
    "KeepProducts",
    "Model",
    "activation",
    "count_flops",
    "functional",
    "jaxpr_flops",
    "norm",
]
