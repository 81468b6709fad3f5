"""SimCLR on small images in PyTorch, as one writes it there, for benchmarks/views.py.

Layers and parameters are those of `resnet` with `depth=18, stem="cifar"` and of `projector`. The
views are made of one image at a time, by torchvision in the processes of a DataLoader.
"""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, channels_in: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = _conv(channels_in, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.shortcut = nn.Identity()
        if stride > 1:
            conv = _conv(channels_in, width, 1, stride)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return functional.relu(out, inplace=True)


class Network(nn.Module):
    """Codes [batch, size] of images [batch, 3, height, width]: ResNet-18 and a projector."""

    def __init__(self, width: int, blocks: tuple[int, ...], projector: tuple[int, int]):
        super().__init__()
        layers: list[nn.Module] = [_conv(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels = width
        for stage, count in enumerate(blocks):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(Block(channels, width * 2**stage, stride))
                channels = width * 2**stage
        self.backbone = nn.Sequential(*layers)
        hidden, size = projector
        self.projector = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, size),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.projector(self.backbone(images).mean((2, 3)))


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """The loss of SimCLR (Chen et al. 2020, arXiv:2002.05709, equation 1)."""
    codes = functional.normalize(torch.cat([first, second]))
    similarity = codes @ codes.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    count = len(first)
    targets = torch.arange(2 * count, device=codes.device).roll(count)
    return functional.cross_entropy(similarity, targets)


class Views(Dataset):
    """Two views of image `index` modulo their number, as often as asked.

    Args:
      images: uint8 [image, height, width, channel].
      of_pillow: transform Pillow images, as torchvision's CIFAR10 gives them, instead of tensors.
      length: images to be asked for.
    """

    def __init__(self, images: np.ndarray, of_pillow: bool, length: int):
        self.images, self.of_pillow, self.length = images, of_pillow, length
        size, strength = images.shape[1], (0.8, 0.8, 0.8, 0.2)
        # The smallest odd number of pixels from a tenth of the image on (SimCLR, appendix A).
        kernel = max(3, size // 20 * 2 + 1)
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.08, 1.0), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.RandomApply([v2.ColorJitter(*strength)], 0.8),
                v2.RandomGrayscale(0.2),
                v2.RandomApply([v2.GaussianBlur(kernel, (0.1, 2.0))], 0.5),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pixels = self.images[index % len(self.images)]
        if self.of_pillow:
            image = Image.fromarray(pixels)
        else:
            image = torch.from_numpy(pixels).permute(2, 0, 1)
        return self.transform(image), self.transform(image)


def batches(views: Views, batch: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Those that processes of their own make."""
    return iter(
        DataLoader(
            views, batch, num_workers=workers, drop_last=True, pin_memory=torch.cuda.is_available()
        )
    )


def _conv(channels_in: int, channels_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, size, stride, size // 2, bias=False)
