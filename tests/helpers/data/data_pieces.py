"""Sources and transforms that the loading tests send to worker processes."""

import os
import signal

import numpy as np

from dlresearch.errors import UserError


class Counting:
    """Example i is the number i; with `sizes`, an image of that height."""

    def __init__(self, length=10, sizes=None):
        self.length, self.sizes = length, sizes
        self.metadata = {"num_classes": 1000}

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        example = {"number": np.int32(index)}
        if self.sizes:
            example["image"] = np.zeros((self.sizes[index], 2, 1), np.uint8)
        return example


class AddNoise:
    random = True

    def __call__(self, example, rng):
        return {**example, "noise": rng.standard_normal(3).astype(np.float32)}


class Fails:
    """Raises at one example, in one of several ways."""

    random = False

    def __init__(self, at, how):
        self.at, self.how = at, how

    def __call__(self, example, rng):
        if example["number"] == self.at:
            if self.how == "mistake":
                raise UserError("example 7 is broken; repair it")
            if self.how == "odd":
                raise OddError(1, 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return example


class OddError(Exception):
    """Cannot be unpickled: its constructor takes two arguments and hands none on."""

    def __init__(self, first, second):
        super().__init__("odd")
