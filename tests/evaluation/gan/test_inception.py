"""Inception-v3 is that of PyTorch with the same weights, written down a second time, and its resize
is the formula of TensorFlow 1.
"""

import hashlib
import sys

import jax
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.evaluation.gan import inception, open_extractor

RNG = np.random.default_rng(0)


def formula(images, size):
    """In float64, as a product with the weight of each old pixel in each new one."""

    def weights(old):
        distance = np.abs(np.arange(size)[:, None] * old / size - np.arange(old))
        shares = np.maximum(0, 1 - distance)
        shares[:, -1] += 1 - shares.sum(axis=1)  # beyond the last pixel there is only that one
        return shares

    _, height, width, _ = images.shape
    return np.einsum("ih,jw,bhwc->bijc", weights(height), weights(width), images, optimize=True)


@pytest.mark.parametrize(("height", "width", "size"), [(5, 7, 11), (28, 32, 31), (16, 20, 6)])
def test_resize_is_that_of_tensorflow_1(height, width, size):
    images = RNG.integers(0, 256, (2, height, width, 3)).astype(np.float32)
    # Of values up to 255 in float32.
    np.testing.assert_allclose(inception.resize(images, size), formula(images, size), atol=1e-3)


# --- the network in PyTorch -----------------------------------------------------------------------


class Torch:
    """The layers of the paper, each called by its name, with random weights made when first asked
    for.
    """

    def __init__(self, torch):
        self.torch, self.f = torch, torch.nn.functional
        self.state = {}
        self.generator = torch.Generator().manual_seed(0)

    def random(self, *shape, low=-1.0, high=1.0):
        return low + (high - low) * self.torch.rand(*shape, generator=self.generator)

    def conv(self, x, name, channels, kernel=1, stride=1, padding=0):
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        if f"{name}.conv.weight" not in self.state:
            limit = (6 / (x.shape[1] * height * width)) ** 0.5  # keeps the size of activations
            self.state |= {
                f"{name}.conv.weight": limit * self.random(channels, x.shape[1], height, width),
                f"{name}.bn.weight": self.random(channels, low=0.5, high=1.5),
                f"{name}.bn.bias": 0.1 * self.random(channels),
                f"{name}.bn.running_mean": 0.1 * self.random(channels),
                f"{name}.bn.running_var": self.random(channels, low=0.5, high=1.5),
            }
        get = {key: self.state[f"{name}.{key}"] for key in ("conv.weight", "bn.weight", "bn.bias")}
        x = self.f.conv2d(x, get["conv.weight"], stride=stride, padding=padding)
        mean, var = (self.state[f"{name}.bn.running_{key}"] for key in ("mean", "var"))
        return self.f.relu(
            self.f.batch_norm(x, mean, var, get["bn.weight"], get["bn.bias"], eps=0.001)
        )

    def mean(self, x):
        return self.f.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    def chain(self, x, name, *layers):
        """Layers (ending of the name, channels, kernel), padded to the same size."""
        for ending, channels, *kernel in layers:
            size = kernel[0] if kernel else (1, 1)
            x = self.conv(x, name + ending, channels, size, padding=(size[0] // 2, size[1] // 2))
        return x

    def a(self, x, n, pool):
        return self.torch.cat([
            self.chain(x, n, ("branch1x1", 64)),
            self.chain(x, n, ("branch5x5_1", 48), ("branch5x5_2", 64, (5, 5))),
            self.chain(
                x, n, ("branch3x3dbl_1", 64), ("branch3x3dbl_2", 96, (3, 3)),
                ("branch3x3dbl_3", 96, (3, 3)),
            ),
            self.chain(self.mean(x), n, ("branch_pool", pool)),
        ], 1)  # fmt: skip

    def b(self, x, n):
        y = self.chain(x, n, ("branch3x3dbl_1", 64), ("branch3x3dbl_2", 96, (3, 3)))
        return self.torch.cat([
            self.conv(x, n + "branch3x3", 384, 3, 2),
            self.conv(y, n + "branch3x3dbl_3", 96, 3, 2),
            self.f.max_pool2d(x, 3, 2),
        ], 1)  # fmt: skip

    def c(self, x, n, k):
        wide, high = (1, 7), (7, 1)
        return self.torch.cat([
            self.chain(x, n, ("branch1x1", 192)),
            self.chain(
                x, n, ("branch7x7_1", k), ("branch7x7_2", k, wide), ("branch7x7_3", 192, high)
            ),
            self.chain(
                x, n, ("branch7x7dbl_1", k), ("branch7x7dbl_2", k, high),
                ("branch7x7dbl_3", k, wide), ("branch7x7dbl_4", k, high),
                ("branch7x7dbl_5", 192, wide),
            ),
            self.chain(self.mean(x), n, ("branch_pool", 192)),
        ], 1)  # fmt: skip

    def d(self, x, n):
        y = self.chain(x, n, ("branch3x3_1", 192))
        z = self.chain(
            x, n, ("branch7x7x3_1", 192), ("branch7x7x3_2", 192, (1, 7)),
            ("branch7x7x3_3", 192, (7, 1)),
        )  # fmt: skip
        return self.torch.cat([
            self.conv(y, n + "branch3x3_2", 320, 3, 2),
            self.conv(z, n + "branch7x7x3_4", 192, 3, 2),
            self.f.max_pool2d(x, 3, 2),
        ], 1)  # fmt: skip

    def e(self, x, n, pooled):
        y = self.chain(x, n, ("branch3x3_1", 384))
        z = self.chain(x, n, ("branch3x3dbl_1", 448), ("branch3x3dbl_2", 384, (3, 3)))
        wide, high = (1, 3), (3, 1)
        return self.torch.cat([
            self.chain(x, n, ("branch1x1", 320)),
            self.chain(y, n, ("branch3x3_2a", 384, wide)),
            self.chain(y, n, ("branch3x3_2b", 384, high)),
            self.chain(z, n, ("branch3x3dbl_3a", 384, wide)),
            self.chain(z, n, ("branch3x3dbl_3b", 384, high)),
            self.chain(pooled, n, ("branch_pool", 192)),
        ], 1)  # fmt: skip

    def features(self, x):
        """Of normalised images [batch, 3, 299, 299]."""
        x = self.conv(x, "Conv2d_1a_3x3", 32, 3, 2)
        x = self.conv(x, "Conv2d_2a_3x3", 32, 3)
        x = self.f.max_pool2d(self.conv(x, "Conv2d_2b_3x3", 64, 3, padding=1), 3, 2)
        x = self.conv(self.conv(x, "Conv2d_3b_1x1", 80), "Conv2d_4a_3x3", 192, 3)
        x = self.f.max_pool2d(x, 3, 2)
        for name, pool in (("5b", 32), ("5c", 64), ("5d", 64)):
            x = self.a(x, f"Mixed_{name}.", pool)
        x = self.b(x, "Mixed_6a.")
        for name, inner in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            x = self.c(x, f"Mixed_{name}.", inner)
        x = self.d(x, "Mixed_7a.")
        x = self.e(x, "Mixed_7b.", self.mean(x))
        x = self.e(x, "Mixed_7c.", self.f.max_pool2d(x, 3, 1, 1))
        return x.mean((2, 3))


@pytest.fixture(scope="module")
def theirs():
    """Two grey images, what PyTorch makes of them, and its weights."""
    torch = pytest.importorskip("torch")
    images = RNG.integers(0, 256, (2, 13, 9, 1)).astype(np.uint8)
    inputs = (np.repeat(formula(images, 299), 3, axis=-1) - 128) / 128
    network = Torch(torch)
    with torch.no_grad():
        found = network.features(torch.from_numpy(inputs.transpose(0, 3, 1, 2)).float())
    return images, found.numpy(), network.state


def test_features_are_those_of_pytorch(theirs, tmp_path, monkeypatch):
    """Read from a file as the real weights are, but for the hash."""
    import torch

    images, expected, state = theirs
    path = tmp_path / "weights.pth"
    torch.save({**state, "fc.weight": torch.zeros(3, 2048)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(inception, "SHA256", digest[:8])
    extractor = open_extractor(str(path), None)
    assert extractor.about == "Inception-v3 6726825d"
    found = jax.jit(extractor.features)(extractor.variables, images)
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
