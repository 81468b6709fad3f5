"""What does not fit a generator or discriminator is named in one line that says what to change."""

import jax
import jax.numpy as jnp
import pytest

from dlresearch.errors import UserError
from dlresearch.models import functional
from dlresearch.models.gan import (
    BigGANDiscriminator,
    BigGANGenerator,
    DCGANDiscriminator,
    DCGANGenerator,
    ResNetDiscriminator,
    ResNetGenerator,
)

IMAGES = {"size": 32, "channels": 3}


@pytest.mark.parametrize(
    ("constructor", "arguments", "message"),
    [
        (DCGANGenerator, {"size": 30}, "size=30: dcgan_generator makes sizes .* such as 28, 32"),
        (ResNetGenerator, {"size": 7}, "size=7: resnet_generator makes sizes"),
        (BigGANGenerator, {"size": 512}, "size=512: .* up to 256 pixels; use stylegan2"),
        (DCGANGenerator, {"channels": 0}, "channels=0: must be at least 1"),
        (DCGANGenerator, {"num_classes": -1}, "num_classes=-1"),
        (DCGANGenerator, {"widths": (8,)}, r"widths=\(8,\).*doubles 3 times.*3 widths, or 4"),
        (DCGANGenerator, {"upsample": "bilinear"}, "upsample='bilinear': .* transposed, nearest"),
        (ResNetGenerator, {"widths": (8, 8)}, r"widths=\(8, 8\).*needs 4 widths"),
        (ResNetGenerator, {"widths": (8, 8, 0, 8)}, "must be at least 1"),
        (ResNetGenerator, {"attention": (12,)}, r"attention=\(12,\).*sides of 12, but 8, 16, 32"),
        (BigGANGenerator, {"attention": (4,)}, r"attention=\(4,\).*but 8, 16, 32"),
        (BigGANGenerator, {"dtype": "int8"}, "dtype=int8"),
        (DCGANDiscriminator, {"norm": "bacth"}, "norm='bacth': .* batch, layer, spectral, none"),
        (DCGANDiscriminator, {"labels": "plane"}, "labels='plane': .* projection, planes"),
        (ResNetDiscriminator, {"last_widths": (0,)}, "last_widths"),
        (BigGANDiscriminator, {"width": 0}, "width=0"),
    ],
)
def test_arguments_that_do_not_fit_are_named(constructor, arguments, message):
    common = IMAGES if "Generator" in constructor.__name__ else {}
    with pytest.raises(UserError, match=message):
        functional(constructor, **{**common, **arguments})


@pytest.mark.parametrize(
    ("constructor", "arguments", "shape", "message"),
    [
        (DCGANGenerator, IMAGES, (2, 3, 4), r"reads vectors \[batch, latent\]"),
        (BigGANGenerator, IMAGES, (2, 10), "latent of 10: .* 4 equal chunks .* use 8"),
        (DCGANDiscriminator, {}, (2, 30, 30, 1), "size=30: dcgan_discriminator"),
        (DCGANDiscriminator, {"widths": (4, 4)}, (2, 30, 30, 1), "30x30: .*halves .* 2 times"),
        (ResNetDiscriminator, {}, (2, 32, 28, 3), "images of 32x28"),
        (ResNetDiscriminator, {"attention": (32,)}, (2, 32, 32, 3), "sides of 32, but 8, 16"),
        (ResNetDiscriminator, {}, (2, 30, 30, 3), "30x30: resnet_discriminator halves"),
        (BigGANDiscriminator, {}, (2, 32), "biggan_discriminator reads images"),
        (BigGANDiscriminator, {"num_classes": 3}, (2, 32, 32, 3), "needs a label"),
        (ResNetGenerator, {**IMAGES, "num_classes": 3}, (2, 8), "needs a label"),
    ],
)
def test_inputs_that_do_not_fit_are_named(constructor, arguments, shape, message):
    model = functional(constructor, **arguments)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))


def test_labels_for_a_network_without_classes_are_refused():
    model = functional(DCGANGenerator, **IMAGES)
    with pytest.raises(UserError, match="num_classes=0 reads no labels"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 8)), jnp.zeros(2, jnp.int32))
