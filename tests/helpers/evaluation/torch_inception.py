"""Inception-v3 in PyTorch, written from its paper, with random weights drawn by NumPy.

Szegedy et al. 2016, arXiv:1512.00567, up to the last pooling, with the two changes of the graph
that Frechet distances are measured with: average pooling does not count the padding, and the last
block has max pooling.
"""

from collections.abc import Mapping

import numpy as np


def resized(images, size):
    """Return images [batch, height, width, channel] resized to size x size, in float64.

    The bilinear formula of TensorFlow 1, as a product with the weight of each old pixel in each
    new one.
    """

    def weights(old):
        distance = np.abs(np.arange(size)[:, None] * old / size - np.arange(old))
        shares = np.maximum(0, 1 - distance)
        shares[:, -1] += 1 - shares.sum(axis=1)  # beyond the last pixel there is only that one
        return shares

    _, height, width, _ = images.shape
    return np.einsum("ih,jw,bhwc->bijc", weights(height), weights(width), images, optimize=True)


def random_layer(rng: np.random.Generator, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return float32 weights of one convolution [out, in, height, width] and its batch norm."""
    channels, *fan_in = shape
    limit = (6 / np.prod(fan_in)) ** 0.5  # keeps the size of activations
    layer = {
        "conv.weight": rng.uniform(-limit, limit, shape),
        "bn.weight": rng.uniform(0.5, 1.5, channels),
        "bn.bias": rng.uniform(-0.1, 0.1, channels),
        "bn.running_mean": rng.uniform(-0.1, 0.1, channels),
        "bn.running_var": rng.uniform(0.5, 1.5, channels),
    }
    return {name: value.astype(np.float32) for name, value in layer.items()}


def random_weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Return the weights that `Network` draws with this seed.

    Args:
      shapes: `Network.shapes` after a call of `features`, in the same order.
    """
    rng = np.random.default_rng(seed)
    layers = {name: random_layer(rng, tuple(shape)) for name, shape in shapes.items()}
    return {f"{name}.{part}": a for name, layer in layers.items() for part, a in layer.items()}


class Network:
    """The layers of the paper, in float64. Draws the weights of a layer when it is called.

    Attributes:
      shapes: the shape of each convolution's kernel by the name of the layer, in order of calls.
    """

    def __init__(self, torch, seed):
        self.torch, self.f = torch, torch.nn.functional
        self.rng = np.random.default_rng(seed)
        self.shapes = {}

    def conv(self, x, name, channels, kernel=1, stride=1, padding=0):
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.shapes[name] = (channels, x.shape[1], height, width)
        layer = {
            part: self.torch.from_numpy(array).double()
            for part, array in random_layer(self.rng, self.shapes[name]).items()
        }
        x = self.f.conv2d(x, layer["conv.weight"], stride=stride, padding=padding)
        mean, variance = layer["bn.running_mean"], layer["bn.running_var"]
        scale, bias = layer["bn.weight"], layer["bn.bias"]
        return self.f.relu(self.f.batch_norm(x, mean, variance, scale, bias, eps=0.001))

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
        """Return the last pooling [batch, 2048] of normalized images [batch, 3, 299, 299]."""
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
