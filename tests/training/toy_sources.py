"""Sources for tests."""

import numpy as np

from dlresearch.data.embedded import Digits


class Darkness:
    """Digits, and how dark each is: a target for regression."""

    def __init__(self, split: str):
        self.digits = Digits(split)

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int):
        image = self.digits[index]["image"]
        return {"image": image, "darkness": np.float32(image.mean() / 64)}


class NotANumber(Darkness):
    """One example in fifty has no target."""

    def __getitem__(self, index: int):
        example = super().__getitem__(index)
        return example if index % 50 else {**example, "darkness": np.float32(np.nan)}
