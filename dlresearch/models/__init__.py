"""Networks: parameters and a forward pass, nothing else.

`functional` gives Linen and NNX modules one face.
"""

from dlresearch.models.adapter import Model, functional
from dlresearch.models.airbench import Airbench
from dlresearch.models.convnet import ConvNet
from dlresearch.models.convnext import ConvNeXt
from dlresearch.models.flops import count_flops, jaxpr_flops
from dlresearch.models.layers import activation, norm
from dlresearch.models.mlp import MLP
from dlresearch.models.patches import patchify, unpatchify
from dlresearch.models.recurrent import Recurrent
from dlresearch.models.recurrent_language_model import NextToken, RecurrentLanguageModel
from dlresearch.models.remat import KeepProducts
from dlresearch.models.resnet import ResNet, WideResNet
from dlresearch.models.seq2seq import AttentionSeq2Seq
from dlresearch.models.transformer import Transformer
from dlresearch.models.vit import ViT
from dlresearch.models.whitening import whitening_kernel

__all__ = [
    "MLP",
    "Airbench",
    "AttentionSeq2Seq",
    "ConvNeXt",
    "ConvNet",
    "KeepProducts",
    "Model",
    "NextToken",
    "Recurrent",
    "RecurrentLanguageModel",
    "ResNet",
    "Transformer",
    "ViT",
    "WideResNet",
    "activation",
    "count_flops",
    "functional",
    "jaxpr_flops",
    "norm",
    "patchify",
    "unpatchify",
    "whitening_kernel",
]
