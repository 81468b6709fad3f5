"""Patches of images, and what a vision transformer makes of some of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.models import ViT, functional, patchify, unpatchify

IMAGES = np.random.default_rng(0).normal(size=(3, 4, 6, 2)).astype(np.float32)
POOLS = {
    "token": {"pool": "token", "positions": "learned", "registers": 2},
    "mean": {"pool": "mean", "positions": "sincos"},
}


def test_patches_are_the_squares_of_an_image_row_by_row():
    patches = patchify(IMAGES, 2)
    assert patches.shape == (3, 2, 3, 8)
    for row in range(2):
        for column in range(3):
            square = IMAGES[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(patches[:, row, column], square.reshape(3, 8))
    np.testing.assert_array_equal(unpatchify(patches, 2), IMAGES)


@pytest.fixture(scope="module", params=POOLS)
def encoder(request):
    """Jitted `encode` and features of a network for images of 2x3 patches, and its tokens ahead."""
    sizes = {"width": 8, "depth": 2, "heads": 2, "patch_size": 2}
    model = functional(ViT, num_outputs=None, **sizes, **POOLS[request.param])
    params, state = jax.jit(model.init)(jax.random.key(0), IMAGES)

    @jax.jit
    def encode(images, keep):
        return model.apply(params, state, images, keep, train=False, method="encode")[0]

    features, _ = jax.jit(lambda images: model.apply(params, state, images, train=False))(IMAGES)
    return encode, features, int(request.param == "token")


def test_with_all_patches_the_tokens_are_those_of_the_full_pass(encoder):
    encode, features, ahead = encoder
    tokens = encode(IMAGES, np.tile(np.arange(6), (3, 1)))
    assert tokens.shape == (3, ahead + 6, 8) and tokens.dtype == jnp.float32
    read = tokens[:, 0] if ahead else tokens.mean(1)
    # Two programs, some dozen layers of order 1.
    np.testing.assert_allclose(read, features, rtol=1e-5, atol=1e-5)


def test_tokens_stand_in_the_order_of_what_is_kept_and_keep_their_positions(encoder):
    encode, _, ahead = encoder
    order = np.array([[4, 1, 2], [0, 5, 3], [2, 4, 5]])
    other = np.argsort(order, axis=1)
    tokens, ascending = encode(IMAGES, order), encode(IMAGES, np.sort(order, axis=1))
    expected = np.take_along_axis(tokens[:, ahead:], other[:, :, None], axis=1)
    np.testing.assert_allclose(ascending[:, ahead:], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ascending[:, :ahead], tokens[:, :ahead], rtol=1e-4, atol=1e-5)
    moved = encode(IMAGES, (order + 1) % 6)
    assert not np.allclose(moved, tokens, atol=1e-2)


def test_nothing_is_known_of_the_patches_that_are_hidden(encoder):
    encode, _, _ = encoder
    patches, keep = np.array(patchify(IMAGES, 2)), np.array([[0, 4]] * 3)
    tokens = encode(IMAGES, keep)
    hidden, seen = patches.copy(), patches.copy()
    hidden[:, 0, 1] += 5  # patch 1
    seen[:, 1, 1] += 5  # patch 4
    np.testing.assert_array_equal(encode(unpatchify(hidden, 2), keep), tokens)
    assert np.all(np.abs(encode(unpatchify(seen, 2), keep) - tokens).max((1, 2)) > 1e-3)


def test_pixels_of_patches_are_those_of_the_network_and_must_divide():
    model = functional(ViT, num_outputs=None, width=8, depth=1, heads=1, patch_size=2)
    params, _ = jax.jit(model.init)(jax.random.key(0), IMAGES)
    pixels = jax.jit(lambda images: model.apply(params, {}, images, train=False, method="pixels"))
    patches, _ = pixels(IMAGES)
    np.testing.assert_array_equal(patches, patchify(IMAGES, 2))
    with pytest.raises(UserError, match="4x5 do not divide into patches of 2x2"):
        pixels(IMAGES[:, :, :5])
