"""Blurred images."""

import jax
from jaxtyping import Array, Float, Key

from dlresearch.data.augmentations.augmentation import (
    Batch,
    Images,
    check_interval,
    check_probability,
    image_of,
    sometimes,
)
from dlresearch.data.augmentations.resampling import gaussian_map, resample


class GaussianBlur:
    """Blur images by a Gaussian of random width.

    The defaults are those of SimCLR (Chen et al. 2020, arXiv:2002.05709, appendix A), where the
    Gaussian ends at a twentieth of the image to each side; here it is whole.

    Args:
      sigma: lowest and highest standard deviation in pixels; drawn evenly.
      probability: that an image is blurred.
    """

    random = True

    def __init__(self, sigma: tuple[float, float] = (0.1, 2.0), probability: float = 0.5):
        check_interval("gaussian_blur", "sigma", sigma)
        check_probability("gaussian_blur", probability)
        self.sigma, self.probability = sigma, probability

    def __call__(self, key: Key[Array, ""], batch: Batch) -> Batch:
        image = image_of(batch, "gaussian_blur")
        sigma_key, choice_key = jax.random.split(key)
        low, high = self.sigma
        sigma = jax.random.uniform(sigma_key, (image.shape[0],), minval=low, maxval=high)
        blurred = gaussian_blur(image, sigma)
        return {**batch, "image": sometimes(choice_key, self.probability, blurred, image)}


def gaussian_blur(image: Images, sigma: Float[Array, " batch"]) -> Images:
    """Images blurred by Gaussians of `sigma` pixels, mirrored at the borders; uint8 is rounded to
    the nearest.
    """
    _, height, width, _ = image.shape
    rows = gaussian_map(sigma, height)
    return resample(image, rows, rows if width == height else gaussian_map(sigma, width))
