"""Sources for tests."""

import os
import time
from itertools import accumulate
from pathlib import Path

import jax
import numpy as np

from dlresearch.data.embedded import Digits
from dlresearch.data.text import RunningText
from dlresearch.data.vocabulary import Characters


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


class ShortText(RunningText):
    """Eight letters: the place of the next one is three times that of the last, plus 0 or 1."""

    def __init__(self, characters: int, length: int, streams: int, seed: int = 0):
        steps = np.random.default_rng(seed).integers(2, size=characters)
        places = accumulate(steps.tolist(), lambda place, step: (3 * place + step) % 8)
        text = "".join("abcdefgh"[place] for place in places)
        vocabulary = Characters(tuple("abcdefgh"))
        super().__init__(text, "a short text", vocabulary, length, streams, None)


class Numbered:
    """Digits with their number. Which were asked for, in the order in which they were, is in the
    file SPLIT-PROCESS of the folder that the environment names."""

    def __init__(self, split: str):
        self.digits = Digits(split)
        self.metadata = self.digits.metadata
        self.asked = Path(os.environ["TOY_ASKED"]) / f"{split}-{jax.process_index()}"

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int):
        with self.asked.open("a") as asked:
            asked.write(f"{index}\n")
        return {**self.digits[index], "number": np.int32(index)}


class Faulty(Darkness):
    """Goes wrong, in the process whose environment says so, once it has given 500 examples."""

    def __init__(self, split: str):
        super().__init__(split)
        self.given = 0

    def __getitem__(self, index: int):
        self.given += 1
        fault = os.environ.get("TOY_FAULT") if self.given > 500 else None
        if fault == "raise":
            raise ZeroDivisionError("made to fail")
        if fault == "hang":
            time.sleep(3600)
        return super().__getitem__(index)
