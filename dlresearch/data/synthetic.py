"""Random examples of any shape, for tests and for measuring speed without data."""

from collections.abc import Mapping

import numpy as np

from dlresearch.data.source import Example
from dlresearch.errors import UserError


class Synthetic:
    """Examples made up from their index; a network can learn them, each class has its own mean.

    By default `image` uint8 and `label` int32. An image is noise between 0 and 127 plus an offset
    between 0 and 127 for its class and channel. The classes take turns.

    Args:
      length: number of examples.
      shapes: float32 arrays to make instead of the image, shape by key: standard normal, plus an
        offset between -1 and 1 for the class.
      image: height, width and channels of the image.
      num_classes: 0 gives no label.
      seed: of the noise; the classes look alike under every seed, so that another seed can serve
        as the test set.
    """

    def __init__(
        self,
        length: int = 1024,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        image: tuple[int, int, int] = (32, 32, 3),
        num_classes: int = 10,
        seed: int = 0,
    ):
        if length < 1:
            raise UserError(f"length={length}: make at least one example")
        if num_classes < 0 or seed < 0:
            raise UserError(f"num_classes={num_classes}, seed={seed}: neither may be negative")
        if shapes is None and len(image) != 3:
            raise UserError(f"image={tuple(image)}: give height, width and channels")
        self._length, self._seed, self._num_classes = length, seed, num_classes
        self._shapes = None if shapes is None else {k: tuple(v) for k, v in shapes.items()}
        self._image = tuple(image)
        levels = np.linspace(0.0, 1.0, max(num_classes, 1))
        self._levels = levels
        rng = np.random.default_rng(0)
        # Evenly spaced over the classes in every channel, so that no two classes are alike.
        channels = [rng.permutation(levels) * 127 for _ in range(self._image[-1])]
        self._offsets = np.stack(channels, axis=-1).astype(np.uint8)
        self.metadata = {}
        if num_classes:
            names = tuple(str(label) for label in range(num_classes))
            self.metadata = {"num_classes": num_classes, "class_names": names}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self._length:
            raise IndexError(index)
        rng = np.random.default_rng((self._seed, index))
        label = index % max(self._num_classes, 1)
        example: Example = {}
        if self._shapes is None:
            noise = rng.integers(0, 128, self._image, dtype=np.uint8)
            example["image"] = noise + self._offsets[label]
        else:
            offset = np.float32(2 * self._levels[label] - 1)
            for key, shape in self._shapes.items():
                example[key] = rng.standard_normal(shape, dtype=np.float32) + offset
        if self._num_classes:
            example["label"] = np.int32(label)
        return example
