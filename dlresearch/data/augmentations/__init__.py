"""Device augmentations: pure functions of a key and a batch, run inside the jitted step.

`image` is uint8 or floating, [batch, height, width, channel]; every example draws its own numbers.
What draws them and what applies them are apart, so that tests can apply given ones.
"""

from dlresearch.data.augmentations.affine import Affine
from dlresearch.data.augmentations.augmentation import Augmentation, apply_all
from dlresearch.data.augmentations.blur import GaussianBlur
from dlresearch.data.augmentations.colour import ColourJitter, Grayscale
from dlresearch.data.augmentations.crops import RandomResizedCrop, ShiftedCrop
from dlresearch.data.augmentations.erasing import Cutout, Erasing
from dlresearch.data.augmentations.flips import AlternatingFlip, Flip
from dlresearch.data.augmentations.mixing import CutMix, Mixup
from dlresearch.data.augmentations.rand_augment import RandAugment
from dlresearch.data.augmentations.resampling import resized
from dlresearch.data.augmentations.tones import Autocontrast, Equalise, Posterise, Solarise
from dlresearch.data.augmentations.transpose import Transpose
from dlresearch.data.augmentations.values import Normalise

__all__ = [
    "Affine",
    "AlternatingFlip",
    "Augmentation",
    "Autocontrast",
    "ColourJitter",
    "CutMix",
    "Cutout",
    "Equalise",
    "Erasing",
    "Flip",
    "GaussianBlur",
    "Grayscale",
    "Mixup",
    "Normalise",
    "Posterise",
    "RandAugment",
    "RandomResizedCrop",
    "ShiftedCrop",
    "Solarise",
    "Transpose",
    "apply_all",
    "resized",
]
