"""Inception-v3 against the same network in PyTorch; its resize against that of TensorFlow 1."""

import collections
import hashlib
import json
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.evaluation.gan import inception, open_extractor
from helpers.evaluation.torch_inception import random_weights, resized
from helpers.references import about, reference

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("height", "width", "size"), [(5, 7, 11), (28, 32, 31), (16, 20, 6)])
def test_resize_is_that_of_tensorflow_1(height, width, size):
    images = RNG.integers(0, 256, (2, height, width, 3)).astype(np.float32)
    # Of values up to 255 in float32.
    np.testing.assert_allclose(inception.resize(images, size), resized(images, size), atol=1e-3)


@pytest.mark.slow
def test_features_are_those_of_pytorch(tmp_path, monkeypatch):
    """From the file to the features; only the hash of the file and its reader are replaced."""
    recorded = reference("inception")
    weights = random_weights(json.loads(str(recorded["shapes"])), about("inception")["seed"])
    message = "NumPy draws other numbers than those recorded; run tests/references/make.py"
    np.testing.assert_array_equal(
        weights["Mixed_7c.branch_pool.bn.running_var"], recorded["last_weights"], message
    )
    weights["fc.weight"] = np.zeros((3, 2048), np.float32)  # in the published file, not read

    def load(path, *, map_location, weights_only):
        assert weights_only  # other files could run code
        return {name: SimpleNamespace(numpy=lambda a=array: a) for name, array in weights.items()}

    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(b"weights").hexdigest()[:8])
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(load=load))
    extractor = open_extractor(str(path), None)
    assert extractor.about == "Inception-v3 6726825d"
    found = jax.jit(extractor.features)(extractor.variables, recorded["images"])
    expected = recorded["features"]
    assert found.shape == (2, 2048)
    # Ninety layers of float32; the two images differ by far more.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert np.abs(expected[0] - expected[1]).max() > 0.05 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("shape", "kind"), [((2, 8, 8, 4), np.uint8), ((2, 8, 8, 3), np.float32), ((2, 8), np.uint8)]
)
def test_images_it_was_not_made_for_are_refused(shape, kind):
    with pytest.raises(UserError, match=r"takes uint8 images with 1 or 3 channels, not"):
        inception.features({}, np.zeros(shape, kind))


def test_another_file_is_refused_by_its_hash(tmp_path):
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    path.write_bytes(b"something else")
    digest = hashlib.sha256(b"something else").hexdigest()[:8]
    with pytest.raises(UserError, match=f"SHA-256 begins with {digest}, not 6726825d"):
        open_extractor(str(path), None)


def test_without_pytorch_one_line_says_so(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    monkeypatch.setattr(inception, "SHA256", hashlib.sha256(b"weights").hexdigest()[:8])
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="takes PyTorch; install torch"):
        open_extractor(str(path), None)


@pytest.mark.parametrize(
    ("name", "over_neighbors"), [("Mixed_7b", np.nanmean), ("Mixed_7c", np.nanmax)]
)
def test_the_last_block_takes_the_maximum_where_the_one_before_takes_the_mean(name, over_neighbors):
    """Over the pixels of each 3x3 window that are in the image; every kernel is the identity."""
    image = RNG.uniform(size=(5, 6)).astype(np.float32)
    one = {"kernel": np.ones((1, 1, 1, 1), np.float32), "scale": np.ones(1), "bias": np.zeros(1)}
    layers = collections.defaultdict(lambda: one)
    found = inception.block(inception.BLOCKS[name], layers, name, image[None, :, :, None])
    padded = np.pad(image, 1, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    np.testing.assert_allclose(found[0, :, :, -1], over_neighbors(windows, (2, 3)), rtol=1e-6)
