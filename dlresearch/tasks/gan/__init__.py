"""Adversarial networks: the task, losses, penalties, and what the discriminator sees augmented."""

from dlresearch.tasks.gan.task import GAN

__all__ = ["GAN"]
