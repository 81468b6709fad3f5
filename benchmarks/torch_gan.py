"""DCGAN and StyleGAN2 in PyTorch, as one writes them there, for benchmarks/gan.py.

Layers, shapes and parameters are those of dlresearch/models/gan without classes. StyleGAN2 scales
activations instead of kernels, as ours does, which takes no convolution in as many groups as there
are examples; filters are convolutions by channel.
"""

from itertools import pairwise
from math import log2, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.2


def dcgan(size: int, channels: int, latent: int, widest: int) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of DCGAN (Radford et al. 2016, arXiv:1511.06434).

    Args:
      widest: channels at half of the size; twice as many at each one below.
    """
    start, count = size, 0
    while start % 2 == 0 and start // 2 >= 4:
        start, count = start // 2, count + 1
    up = [widest * 2**k for k in reversed(range(count))]
    down = [widest * 2**k for k in range(count)]
    generator: list[nn.Module] = [
        nn.Linear(latent, up[0] * start**2),
        nn.Unflatten(1, (up[0], start, start)),
        nn.BatchNorm2d(up[0]),
        nn.ReLU(),
    ]
    for before, width in pairwise(up):
        generator += [
            nn.ConvTranspose2d(before, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
    generator += [nn.ConvTranspose2d(up[-1], channels, 4, 2, 1), nn.Tanh()]
    discriminator: list[nn.Module] = [
        nn.Conv2d(channels, down[0], 4, 2, 1),
        nn.LeakyReLU(_SLOPE),
    ]
    for before, width in pairwise(down):
        discriminator += [
            nn.Conv2d(before, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(_SLOPE),
        ]
    discriminator += [nn.Flatten(), nn.Linear(down[-1] * start**2, 1), nn.Flatten(0)]
    return nn.Sequential(*generator), nn.Sequential(*discriminator)


def stylegan2(
    size: int, channels: int, latent: int, base: int, largest: int
) -> tuple[nn.Module, nn.Module]:
    """Generator with skips and plain discriminator of StyleGAN2, as for CIFAR-10 (Karras et al.
    2020, arXiv:2006.06676, appendix D.1): two layers of mapping, no mixing of styles.

    Args:
      base: layers of r x r pixels have `base / r` channels, if these are not more than `largest`.
    """
    widths = {2**k: min(base // 2**k, largest) for k in range(2, int(log2(size)) + 1)}
    return Generator(channels, latent, widths), Discriminator(size, channels, widths)


class Generator(nn.Module):
    def __init__(self, channels: int, latent: int, widths: dict[int, int]):
        super().__init__()
        style = latent
        self.mapping = nn.ModuleList(Dense(latent, style, rate=0.01) for _ in range(2))
        self.constant = nn.Parameter(torch.randn(1, widths[4], 4, 4))
        self.first = Styled(widths[4], widths[4], style, double=False)
        self.first_picture = Picture(widths[4], channels, style)
        pairs = list(pairwise(widths))
        self.doubling = nn.ModuleList(
            Styled(widths[before], widths[after], style, double=True) for before, after in pairs
        )
        self.keeping = nn.ModuleList(
            Styled(widths[after], widths[after], style, double=False) for _, after in pairs
        )
        self.pictures = nn.ModuleList(Picture(widths[after], channels, style) for _, after in pairs)

    def forward(self, latent: Tensor) -> Tensor:
        style = latent * latent.square().mean(1, keepdim=True).add(1e-8).rsqrt()
        for dense in self.mapping:
            style = _activate(dense(style))
        x = self.first(self.constant.expand(len(latent), -1, -1, -1), style)
        picture = self.first_picture(x, style)
        for double, keep, own in zip(self.doubling, self.keeping, self.pictures, strict=True):
            x = keep(double(x, style), style)
            picture = _upsampled(picture) + own(x, style)
        return picture


class Discriminator(nn.Module):
    def __init__(self, size: int, channels: int, widths: dict[int, int], group: int = 32):
        super().__init__()
        self.group = group
        self.image = Conv(channels, widths[size], 1)
        sides = sorted(widths, reverse=True)
        blocks: list[nn.Module] = []
        for before, after in pairwise(sides):
            blocks += [Conv(widths[before], widths[before], 3)]
            blocks += [Conv(widths[before], widths[after], 3, halve=True)]
        self.blocks = nn.Sequential(*blocks)
        self.conv = Conv(widths[4] + 1, widths[4], 3)
        self.dense = Dense(16 * widths[4], widths[4])
        self.logit = Dense(widths[4], 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(self.image(images))
        group = min(self.group, len(x))
        grouped = x.reshape(group, -1, *x.shape[1:])
        deviation = (grouped.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        column = deviation.repeat(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])
        x = self.conv(torch.cat([x, column], 1))
        return self.logit(_activate(self.dense(x.flatten(1))))[:, 0]


class Dense(nn.Module):
    """With an equalised learning rate."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.gain, self.rate = rate / sqrt(inputs), rate

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight * self.gain, self.bias * self.rate)


class Conv(nn.Module):
    """With an equalised learning rate, a bias and a leaky rectifier."""

    def __init__(self, inputs: int, outputs: int, side: int, halve: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, side, side))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain, self.halve = 1 / sqrt(inputs * side**2), halve

    def forward(self, x: Tensor) -> Tensor:
        weight, side = self.weight * self.gain, self.weight.shape[-1]
        if self.halve:
            x = functional.conv2d(_filtered(x, padding=2), weight, self.bias, stride=2)
        else:
            x = functional.conv2d(x, weight, self.bias, padding=side // 2)
        return _activate(x)


class Styled(nn.Module):
    """A modulated convolution, noise, a bias and a leaky rectifier."""

    def __init__(self, inputs: int, outputs: int, style: int, double: bool):
        super().__init__()
        self.style = Dense(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.strength = nn.Parameter(torch.zeros(()))
        self.gain, self.double = 1 / sqrt(9 * inputs), double

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scales, weight = self.style(style), self.weight * self.gain
        x = x * scales[:, :, None, None]
        if self.double:
            x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = _filtered(x, padding=1, gain=4)
        else:
            x = functional.conv2d(x, weight, padding=1)
        power = scales.square() @ weight.square().sum((2, 3)).T
        x = x * (power + 1e-8).rsqrt()[:, :, None, None]
        noise = torch.randn(len(x), 1, *x.shape[2:], device=x.device) * self.strength
        return _activate(x + noise + self.bias[:, None, None])


class Picture(nn.Module):
    """A modulated 1x1 convolution, without demodulation."""

    def __init__(self, inputs: int, channels: int, style: int):
        super().__init__()
        self.style = Dense(style, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.gain = 1 / sqrt(inputs)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = x * self.style(style)[:, :, None, None]
        return functional.conv2d(x, self.weight * self.gain, self.bias)


def _activate(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, _SLOPE) * sqrt(2)


def _kernel(x: Tensor, gain: float) -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device) / 8
    return (gain * taps[:, None] * taps).expand(x.shape[1], 1, 4, 4)


def _filtered(x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    return functional.conv2d(x, _kernel(x, gain), padding=padding, groups=x.shape[1])


def _upsampled(x: Tensor) -> Tensor:
    return functional.conv_transpose2d(x, _kernel(x, 4), stride=2, padding=1, groups=x.shape[1])
