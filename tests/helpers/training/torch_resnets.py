"""Residual networks with PyTorch's names and layouts, written in NumPy float64 from the paper.

He et al. 2016, arXiv:1512.03385, table 1 and figure 5, with the stride in the 3x3 convolution of a
bottleneck, as torchvision has it.
"""

from itertools import count

import numpy as np

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def convolutions(depth):
    """(name, name of the normalisation, out, in, size) of each."""
    yield "conv1", "bn1", 64, 3, 7
    inputs = 64
    for stage, blocks in enumerate(BLOCKS[depth]):
        width = 64 * 2**stage
        outputs = width if depth < 50 else 4 * width
        for block in range(blocks):
            prefix = f"layer{stage + 1}.{block}"
            if depth < 50:
                layers = [(width, inputs, 3), (width, width, 3)]
            else:
                layers = [(width, inputs, 1), (width, width, 3), (outputs, width, 1)]
            for number, shape in zip(count(1), layers):
                yield f"{prefix}.conv{number}", f"{prefix}.bn{number}", *shape
            if inputs != outputs:
                yield f"{prefix}.downsample.0", f"{prefix}.downsample.1", outputs, inputs, 1
            inputs = outputs


def random_weights(depth, classes, seed=0):
    """A `state_dict` of float32, scaled so that values neither grow nor shrink much."""
    rng = np.random.default_rng(seed)
    weights = {}
    for conv, norm, outputs, inputs, size in convolutions(depth):
        shape = (outputs, inputs, size, size)
        weights[f"{conv}.weight"] = rng.normal(0, (inputs * size**2) ** -0.5, shape)
        weights[f"{norm}.weight"] = rng.uniform(0.5, 1.5, outputs)
        weights[f"{norm}.bias"] = rng.normal(0, 0.2, outputs)
        weights[f"{norm}.running_mean"] = rng.normal(0, 0.3, outputs)
        weights[f"{norm}.running_var"] = rng.uniform(0.5, 2, outputs)
    features = weights[f"{norm}.weight"].size  # of the last one
    weights["fc.weight"] = rng.normal(0, features**-0.5, (classes, features))
    weights["fc.bias"] = rng.normal(0, 1, classes)
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    # As PyTorch counts; a network has no use for them.
    counters = {f"{norm}.num_batches_tracked": np.int64(7) for _, norm, *_ in convolutions(depth)}
    return weights | {name: np.asarray(value) for name, value in counters.items()}


def logits(weights, images, depth):
    """Of images [batch, height, width, channels], in evaluation mode."""
    weights = {name: np.asarray(value, np.float64) for name, value in weights.items()}

    def layer(x, conv, norm, stride=1):
        kernel = weights[f"{conv}.weight"]
        size = kernel.shape[-1]
        x = np.pad(x, [(0, 0), (0, 0), *[(size // 2, size // 2)] * 2])
        windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
        x = np.tensordot(windows[:, :, ::stride, ::stride], kernel, ((1, 4, 5), (1, 2, 3)))
        x = (x - weights[f"{norm}.running_mean"]) / np.sqrt(weights[f"{norm}.running_var"] + 1e-5)
        x = x * weights[f"{norm}.weight"] + weights[f"{norm}.bias"]
        return x.transpose(0, 3, 1, 2)

    x = np.maximum(layer(images.astype(np.float64).transpose(0, 3, 1, 2), "conv1", "bn1", 2), 0)
    x = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])  # what is pooled is never negative
    x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    x = x.max((-2, -1))
    for stage, blocks in enumerate(BLOCKS[depth]):
        for block in range(blocks):
            prefix = f"layer{stage + 1}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            layers = 2 if depth < 50 else 3
            y = x
            for number in range(1, layers + 1):
                strided = number == layers - 1 if layers == 3 else number == 1
                y = layer(
                    y, f"{prefix}.conv{number}", f"{prefix}.bn{number}", stride if strided else 1
                )
                y = np.maximum(y, 0) if number < layers else y
            if f"{prefix}.downsample.0.weight" in weights:
                x = layer(x, f"{prefix}.downsample.0", f"{prefix}.downsample.1", stride)
            x = np.maximum(x + y, 0)
    return x.mean((2, 3)) @ weights["fc.weight"].T + weights["fc.bias"]
