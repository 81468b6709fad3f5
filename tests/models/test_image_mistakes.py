"""What does not fit an image model is named in one line that says what to change."""

import jax
import jax.numpy as jnp
import pytest

from dlresearch.errors import UserError
from dlresearch.models import Airbench, ConvNeXt, ResNet, ViT, WideResNet, functional


@pytest.mark.parametrize(
    ("constructor", "arguments", "message"),
    [
        (ResNet, {"depth": 20}, "depth=20: must be one of 18, 34, 50, 101, 152"),
        (ResNet, {"stem": "cifr"}, "stem='cifr': must be one of imagenet, cifar"),
        (ResNet, {"version": 3}, "version=3: must be one of 1, 2"),
        (ResNet, {"num_outputs": 0}, "num_outputs=0: must be at least 1"),
        (ResNet, {"stochastic_depth": 1.0}, r"stochastic_depth=1.0 is not in \[0, 1\)"),
        (WideResNet, {"depth": 20}, "depth=20: must be 6n"),
        (WideResNet, {"dropout": -0.1}, "dropout=-0.1"),
        (ResNet, {"blocks": ()}, "one value for each stage"),
        (ResNet, {"blocks": (1, 0)}, "must be at least 1"),
        (ConvNeXt, {"widths": (8, 8)}, "one value for each stage"),
        (ConvNeXt, {"kernel_size": 4}, "kernel_size=4: must be odd"),
        (ViT, {"size": "smal"}, "size='smal': must be one of tiny, small"),
        (ViT, {"width": 100, "heads": 3}, "width=100 does not divide into heads=3"),
        (ViT, {"width": 6, "heads": 1, "positions": "sincos"}, "width=6: must divide by 4"),
        (ViT, {"registers": -1}, "registers=-1"),
        (ViT, {"mlp_ratio": 0}, "mlp_ratio=0"),
        (Airbench, {"convs_per_group": 1, "residual": True}, "convs_per_group of at least 2"),
        (Airbench, {"momentum": 1.0}, "momentum=1.0"),
        (Airbench, {"whiten_epsilon": 0.0}, "whiten_epsilon=0.0"),
        (Airbench, {"dtype": "int8"}, "dtype=int8"),
    ],
)
def test_arguments_that_do_not_fit_are_named(constructor, arguments, message):
    with pytest.raises(UserError, match=message):
        functional(constructor, **{"num_outputs": 3, **arguments})


@pytest.mark.parametrize(
    ("constructor", "shape", "message"),
    [
        (ResNet, (2, 30), "resnet reads images"),
        (WideResNet, (2, 8, 8), "wide_resnet reads images"),
        (ConvNeXt, (2, 31, 32, 3), "31x32 are too small for convnext.*needs 32x32"),
        (ViT, (2, 32, 40, 3), "32x40 do not divide into patches of 16x16"),
        (Airbench, (2, 8, 8, 1), "8x8 are too small for airbench.*needs 9x9"),
    ],
)
def test_images_that_do_not_fit_are_named(constructor, shape, message):
    with pytest.raises(UserError, match=message):
        functional(constructor, num_outputs=3).init(jax.random.key(0), jnp.zeros(shape))
