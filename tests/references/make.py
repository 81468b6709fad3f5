"""Record what PyTorch computes, one file for each family, for tests that run without it.

    python tests/references/make.py [FAMILY ...] [--overwrite]

Makes all families if none is named. Needs the extra `torch`. A file FAMILY.npz holds inputs,
weights, outputs and gradients as float32, and the seed and versions under `about`. Inputs and
weights are drawn by NumPy; PyTorch computes in float64, so a recorded result is exact to one
rounding.
"""

import argparse
import importlib.metadata
import json
import math
import platform
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers.evaluation import torch_inception
from helpers.references import ABOUT, REFERENCES
from helpers.training import torch_resnets

SEED = 0
RNN_WIDTH, RNN_FEATURES, RNN_STEPS = 4, 2, 5
SPECTRAL_CHANNELS = (3, 5)
ENCODER_WIDTH, ENCODER_HEADS, ENCODER_HIDDEN, ENCODER_LAYERS = 8, 2, 12, 2
RESNET_CLASSES = 7


def normal(rng, *shape, scale=1.0):
    """Return float32 noise."""
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def tensor(array, axes=None):
    """Return a float64 tensor of an array, with its axes permuted if `axes` are given."""
    import torch

    permuted = array if axes is None else np.transpose(array, axes)
    return torch.tensor(np.array(permuted, np.float64))


def leaf(array):
    """Return a float64 tensor that collects gradients."""
    return tensor(array).requires_grad_()


def gan_strided():
    """A transposed convolution: images [batch, height, width, channel], kernel [4, 4, out, in]."""
    import torch

    rng = np.random.default_rng(SEED)
    images, kernel = normal(rng, 2, 3, 4, 2), normal(rng, 4, 4, 3, 2)
    outputs = torch.nn.functional.conv_transpose2d(
        tensor(images, (0, 3, 1, 2)), tensor(kernel, (3, 2, 0, 1)), stride=2, padding=1
    )
    return {"images": images, "kernel": kernel, "outputs": outputs.permute(0, 2, 3, 1)}


def gan_spectral_norm():
    """One training step of a convolution with spectral norm, and the gradient of its kernel."""
    import torch

    rng = np.random.default_rng(SEED)
    inputs, outputs = SPECTRAL_CHANNELS
    images, kernel = normal(rng, 2, 4, 4, inputs), normal(rng, 3, 3, inputs, outputs, scale=0.5)
    u = normal(rng, outputs)
    u /= np.linalg.norm(u)
    layer = torch.nn.Conv2d(inputs, outputs, 3, padding=1).double()
    with torch.no_grad():
        layer.weight.copy_(tensor(kernel, (3, 2, 0, 1)))
        layer.bias.zero_()
    layer = torch.nn.utils.spectral_norm(layer)
    layer.weight_u.copy_(tensor(u))
    result = layer(tensor(images, (0, 3, 1, 2)))
    result.square().sum().backward()
    return {
        "images": images,
        "kernel": kernel,
        "u": u,
        "outputs": result.permute(0, 2, 3, 1),
        "new_u": layer.weight_u,
        "kernel_gradient": layer.weight_orig.grad.permute(2, 3, 1, 0),
    }


def gan_models():
    """Gradients of a gradient penalty on a DCGAN discriminator without norms, widths (3, 4)."""
    import torch

    rng = np.random.default_rng(SEED)
    images = normal(rng, 4, 8, 8, 2)
    weights = {
        "stages_0.kernel": normal(rng, 3, 2, 4, 4, scale=0.4),
        "stages_0.bias": normal(rng, 3, scale=0.4),
        "stages_1.kernel": normal(rng, 4, 3, 4, 4, scale=0.4),
        "stages_1.bias": normal(rng, 4, scale=0.4),
        "head": normal(rng, 16, 1, scale=0.4),
    }
    leaves = {name: leaf(array) for name, array in weights.items()}
    x = start = tensor(images, (0, 3, 1, 2)).requires_grad_()
    for stage in ("stages_0", "stages_1"):
        kernel, bias = leaves[f"{stage}.kernel"], leaves[f"{stage}.bias"]
        x = torch.nn.functional.conv2d(x, kernel, bias, stride=2, padding=1)
        x = torch.nn.functional.leaky_relu(x, 0.2)
    total = (x.permute(0, 2, 3, 1).flatten(1) @ leaves["head"]).sum()
    (slope,) = torch.autograd.grad(total, start, create_graph=True)
    penalty = slope.square().mean()
    penalty.backward()
    gradients = {
        f"gradients/{name}": each.grad for name, each in leaves.items() if "bias" not in name
    }
    return {"images": images, **prefixed("weights", weights), **gradients, "penalty": penalty}


def gan_penalties():
    """Gradients of penalties with respect to the weights of a network with one hidden layer."""
    import jax
    import torch

    rng = np.random.default_rng(SEED)
    real, fake = normal(rng, 2, 5, 2, 2, 1)
    weights = {"first": normal(rng, 4, 6, scale=0.5), "second": normal(rng, 6, scale=0.5)}
    # Drawn by the penalties themselves, so not by NumPy here.
    share = np.asarray(jax.random.uniform(jax.random.key(3), (5, 1, 1, 1)))
    noise = np.asarray(jax.random.normal(jax.random.key(3), (3, 2, 3, 2)))
    arrays = {"real": real, "fake": fake, **prefixed("weights", weights)}
    arrays |= {"share": share, "noise": noise}
    between = share * real + (1 - share) * fake

    penalties = {
        "gradient_penalty": (between, lambda s: (s.flatten(1).norm(dim=1) - 1).square().mean()),
        "gradient_penalty to 0": (between, lambda s: s.square().flatten(1).sum(1).mean()),
        "zero_centred_penalty": (real, lambda s: s.square().flatten(1).sum(1).mean()),
    }
    for name, (points, penalty) in penalties.items():
        leaves = {key: leaf(array) for key, array in weights.items()}
        images = leaf(points)
        logits = torch.tanh(images.flatten(1) @ leaves["first"]) @ leaves["second"]
        (slopes,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        penalty(slopes).backward()
        arrays |= prefixed(f"gradients/{name}", {key: each.grad for key, each in leaves.items()})

    styles, mapping, mean = normal(rng, 3, 2, 4), normal(rng, 8, 12, scale=1 / 3), 0.4
    weights, inputs = leaf(mapping), leaf(styles)
    made = torch.tanh(inputs.flatten(1) @ weights).reshape(3, 2, 3, 2)
    projected = (made * tensor(noise) / math.sqrt(6)).sum()  # images of 2 x 3 pixels
    (slopes,) = torch.autograd.grad(projected, inputs, create_graph=True)
    lengths = slopes.square().sum(2).mean(1).sqrt()
    new_mean = mean + 0.01 * (lengths.mean().detach() - mean)
    (lengths - new_mean).square().mean().backward()
    path = {"styles": styles, "map": mapping, "mean": np.float32(mean), "gradient": weights.grad}
    return arrays | prefixed("path_length", path)


def recurrent():
    """Two bidirectional layers of each cell on padded sequences, with gradients."""
    import torch

    arrays = {}
    rng = np.random.default_rng(SEED)
    inputs, lengths = normal(rng, 3, RNN_STEPS, RNN_FEATURES), np.array([5, 1, 3], np.int32)
    for cell in ("lstm", "gru", "rnn"):
        network = getattr(torch.nn, cell.upper())(
            RNN_FEATURES, RNN_WIDTH, 2, bidirectional=True, batch_first=True
        ).double()
        weights = {}
        for name, parameter in network.named_parameters():
            weights[name] = normal(rng, *parameter.shape, scale=0.7)
            if name.startswith("bias_hh"):  # the library has one bias, but for the n gate of a GRU
                weights[name][: 2 * RNN_WIDTH if cell == "gru" else None] = 0
            parameter.data.copy_(tensor(weights[name]))
        sequences = leaf(inputs)
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            sequences, torch.tensor(lengths), batch_first=True, enforce_sorted=False
        )
        outputs, last = network(packed)
        outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(
            outputs, batch_first=True, total_length=RNN_STEPS
        )
        last = last if cell == "lstm" else (last,)
        (outputs.square().sum() + sum((each**3).sum() for each in last)).backward()
        gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
        arrays |= prefixed(f"{cell}/weights", weights) | prefixed(f"{cell}/gradients", gradients)
        arrays |= {f"{cell}/outputs": outputs, f"{cell}/inputs_gradient": sequences.grad}
    return {"inputs": inputs, "lengths": lengths, **arrays}


def transformer_encoder():
    """Two layers of PyTorch's encoder on two sentences, with each kind of positions."""
    import torch

    rng = np.random.default_rng(SEED)
    width = ENCODER_WIDTH
    layers = [
        torch.nn.TransformerEncoderLayer(
            width, ENCODER_HEADS, ENCODER_HIDDEN, 0.0, "gelu", 1e-6,
            batch_first=True, norm_first=True, dtype=torch.float64,
        ).eval()
        for _ in range(ENCODER_LAYERS)
    ]  # fmt: skip
    weights = {
        "embedding": normal(rng, 10, width, scale=0.5),
        "positions": normal(rng, 7, width, scale=0.5),
        "norm.weight": 1 + normal(rng, width, scale=0.3),
        "norm.bias": normal(rng, width, scale=0.3),
        "head.weight": normal(rng, 3, width, scale=0.5),
        "head.bias": normal(rng, 3, scale=0.3),
    }
    for number, layer in enumerate(layers):
        for name, parameter in layer.named_parameters():
            noise = normal(rng, *parameter.shape, scale=0.4)
            is_scale = name in ("norm1.weight", "norm2.weight")
            weights[f"layers.{number}.{name}"] = 1 + noise if is_scale else noise
            parameter.data.copy_(tensor(weights[f"layers.{number}.{name}"]))
    # The mask token is 9. A third sentence of the test is empty, and has no tokens to encode.
    sentences = {"sentence_0": np.array([4, 9, 6, 2]), "sentence_1": np.array([7, 2])}
    # Vaswani et al. 2017, section 3.5, with all sines first.
    angles = np.arange(7)[:, None] * 10_000.0 ** (-np.arange(width // 2) / (width // 2 - 1))
    positions = {
        "learned": weights["positions"].astype(np.float64) * math.sqrt(width),
        "sinusoidal": np.concatenate([np.sin(angles), np.cos(angles)], axis=1),
    }
    arrays = prefixed("weights", weights) | prefixed("tokens", sentences)
    for kind, places in positions.items():
        for name, tokens in sentences.items():
            embedded = weights["embedding"].astype(np.float64)[tokens] * math.sqrt(width)
            with torch.no_grad():
                x = tensor(embedded + places[: len(tokens)])[None]
                for layer in layers:
                    x = layer(x)
                scale, bias = tensor(weights["norm.weight"]), tensor(weights["norm.bias"])
                x = torch.nn.functional.layer_norm(x, (width,), scale, bias, 1e-6)[0]
                head, head_bias = tensor(weights["head.weight"]), tensor(weights["head.bias"])
                scores = torch.nn.functional.linear(x.mean(0), head, head_bias)
            arrays |= {f"{kind}/{name}/encoded": x, f"{kind}/{name}/scores": scores}
    return arrays


def inception():
    """Features of two gray images with random weights.

    Records the shapes of the weights only; `torch_inception.random_weights` draws them again.
    """
    import torch

    images = np.random.default_rng(SEED).integers(0, 256, (2, 13, 9, 1)).astype(np.uint8)
    inputs = (np.repeat(torch_inception.resized(images, 299), 3, axis=-1) - 128) / 128
    network = torch_inception.Network(torch, SEED)
    with torch.no_grad():
        features = network.features(tensor(inputs, (0, 3, 1, 2)))
    weights = torch_inception.random_weights(network.shapes, SEED)
    return {
        "images": images,
        "features": features,
        "shapes": np.array(json.dumps(network.shapes)),
        # The last numbers drawn: a test sees from them that it drew the same weights.
        "last_weights": weights["Mixed_7c.branch_pool.bn.running_var"],
    }


def torchvision_resnets():
    """Names and shapes of torchvision's ResNets, and logits of two with random weights.

    Does not record weights; `torch_resnets.random_weights` draws them again.
    """
    import torch
    import torchvision

    def network(depth):
        return getattr(torchvision.models, f"resnet{depth}")(num_classes=RESNET_CLASSES)

    images = normal(np.random.default_rng(SEED), 2, 33, 33, 3)  # odd, so that padding shows
    arrays = {"images": images}
    for depth in torch_resnets.BLOCKS:
        with torch.device("meta"):
            state = network(depth).state_dict()
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        arrays[f"resnet{depth}/shapes"] = np.array(json.dumps(shapes))
    for depth in (18, 50):
        weights = torch_resnets.random_weights(depth, RESNET_CLASSES, SEED)
        model = network(depth)
        model.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})
        with torch.no_grad():
            logits = model.double().eval()(tensor(images, (0, 3, 1, 2)))
        arrays |= {
            f"resnet{depth}/logits": logits,
            f"resnet{depth}/last_weights": weights["fc.bias"],
        }
    return arrays


FAMILIES = {
    "gan_models": gan_models,
    "gan_penalties": gan_penalties,
    "gan_spectral_norm": gan_spectral_norm,
    "gan_strided": gan_strided,
    "inception": inception,
    "recurrent": recurrent,
    "torchvision_resnets": torchvision_resnets,
    "transformer_encoder": transformer_encoder,
}


def prefixed(prefix, arrays):
    """Return the arrays with `prefix` and a slash before their names."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def make(family: str) -> dict[str, np.ndarray]:
    """Return the arrays of a family, with results of PyTorch as float32."""

    def plain(value):
        if isinstance(value, np.ndarray | np.generic):
            return np.asarray(value)
        return value.detach().numpy().astype(np.float32)

    return {name: plain(value) for name, value in FAMILIES[family]().items()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a file depends on."""
    packages = ("numpy", "torch", "torchvision")
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in packages},
    }


def main(arguments: list[str] | None = None) -> None:
    """Write the files that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    options = parser.parse_args(arguments)
    families = options.families or list(FAMILIES)
    for family in families:
        if family not in FAMILIES:
            stop(f"unknown family {family!r}; choose from {', '.join(FAMILIES)}")
    paths = {family: REFERENCES / f"{family}.npz" for family in families}
    existing = [path.name for path in paths.values() if path.exists()]
    if existing and not options.overwrite:
        stop(f"refusing to replace {', '.join(existing)} without --overwrite")
    for family, path in paths.items():
        about = {"seed": SEED, **versions()}
        np.savez_compressed(path, **{ABOUT: np.array(json.dumps(about))}, **make(family))
        print(f"{path.name}: {path.stat().st_size:,} bytes")


def stop(problem):
    """Print one line and exit with status 2."""
    print(f"error: {problem}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
