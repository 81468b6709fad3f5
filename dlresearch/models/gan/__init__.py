"""Adversarial networks."""

from dlresearch.models.gan.biggan import BigGANDiscriminator, BigGANGenerator
from dlresearch.models.gan.dcgan import DCGANDiscriminator, DCGANGenerator
from dlresearch.models.gan.resnet import ResNetDiscriminator, ResNetGenerator
from dlresearch.models.gan.stylegan2 import StyleGAN2Generator
from dlresearch.models.gan.stylegan2_discriminator import StyleGAN2Discriminator

__all__ = [
    "BigGANDiscriminator",
    "BigGANGenerator",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "ResNetDiscriminator",
    "ResNetGenerator",
    "StyleGAN2Discriminator",
    "StyleGAN2Generator",
]
