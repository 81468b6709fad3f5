"""Every augmentation on one device and on all, in a process that has several.

Prints as JSON, by name: whether the images are the same, and the shapes of what devices send to
each other.
"""

import json
import re

import jax
import numpy as np
from test_augmentations import OF_IMAGES, batch_of, make

from dlresearch.parallel import batch_sharding, make_mesh

_COLLECTIVE = re.compile(
    r"= (\S+) (?:all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)[a-z-]*\("
)


def main() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 20, 18, 3)).astype(np.uint8)
    key, split, found = jax.random.key(0), batch_sharding(make_mesh()), {}
    for name in OF_IMAGES:
        batch, augment = batch_of(image), make(name)
        alone = jax.jit(augment)(key, batch)["image"]
        batch = jax.device_put(batch, split)
        together = jax.jit(augment, out_shardings=split).lower(key, batch).compile()
        found[name] = {
            "same": bool(np.array_equal(alone, together(key, batch)["image"])),
            "sent": _COLLECTIVE.findall(together.as_text()),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
