"""A step of SimCLR with its views made on the device, and what these take of it, beside PyTorch.

    python benchmarks/views.py --out=docs/results/views-cpu.json
    python benchmarks/views.py --gpu --out=gpu.json       on a GPU, the network at its full width
    python benchmarks/views.py --small --out=small.json       a proof at tiny size

Two views of every image (random resized crop, flip, colour jitter, greyscale, blur), a ResNet-18
for small images with a projector, NT-Xent and SGD, in float32; images are noise in memory. Ours is
the trainer's compiled step. PyTorch's is a loop as one writes it: torchvision makes the views of
one image after the other, from tensors or from Pillow images, in as many processes of a DataLoader
as there are cores, while the network trains. Both also without views, on the images as they are.
They take turns, each time in a process of its own, so that what else the machine does falls on all
alike; the median counts.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from absl import app, flags

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each is timed; the median counts.")
STEPS = flags.DEFINE_integer("steps", 10, "Steps of a round.")
OF = flags.DEFINE_string("of", None, "Measure one of them, and print the outcome.")
GPU = flags.DEFINE_bool("gpu", False, "On the GPU; beside PyTorch where it finds it, too.")
SMALL = flags.DEFINE_bool("small", False, "Two rounds at tiny size.")
NOTE = flags.DEFINE_string("note", "", "What else the machine did, for the record.")

OURS, PLAIN = "dlresearch", "dlresearch, without views"
_TENSORS, _PILLOW, _TORCH_PLAIN = (
    "PyTorch, views of tensors",
    "PyTorch, views of Pillow images",
    "PyTorch, without views",
)
_WITHOUT = {OURS: PLAIN, _TENSORS: _TORCH_PLAIN, _PILLOW: _TORCH_PLAIN}
_TEMPERATURE, _RATE, _MOMENTUM = 0.5, 0.03, 0.9
# Before the clock starts a DataLoader should have used up what it made in advance.
_WARM_UP = 6
Step = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """Images, and a network for them."""

    size: int
    batch: int
    width: int
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    projector: tuple[int, int] = (512, 128)


def case() -> Case:
    """On CPU the network has a quarter of its width."""
    if SMALL.value:
        return Case(size=8, batch=4, width=2, blocks=(1, 1), projector=(8, 4))
    return Case(32, 512, 64) if GPU.value else Case(32, 128, 16)


def our_step(case: Case, views: bool) -> tuple[Step, int]:
    """A step of the trainer, and the number of parameters."""
    import jax

    if not GPU.value:
        jax.config.update("jax_platforms", "cpu")  # before JAX looks for devices
    from dlresearch.config import component, default_config, validate
    from dlresearch.data.view_recipes import views as recipe
    from dlresearch.training import Setup
    from dlresearch.training.call import jit_call

    config = default_config()
    config.batch_size = case.batch
    image = (case.size, case.size, 3)
    config.data.source = component("synthetic", length=case.batch, image=image)
    config.data.placement = "resident"
    config.data.preprocess = (component("normalise"),)
    untouched = (component("flip", probability=0.0),)
    config.data.views = recipe("simclr", case.size) if views else {"first": untouched}
    config.model = component("resnet", blocks=case.blocks, depth=18, stem="cifar", width=case.width)
    config.task = component(
        "simclr", temperature=_TEMPERATURE, projector=case.projector, probe=False
    )
    config.optimizer = component("sgd", learning_rate=_RATE, momentum=_MOMENTUM)
    setup = Setup(validate(config))
    feed = setup.make_feed()
    feed.start(0)
    state, taken = setup.initial_state(feed), feed.take(1)
    count = sum(leaf.size for leaf in jax.tree.leaves(state.variables.params))
    call = jit_call(setup.step, feed.pick, 1, setup.abstract_state)
    compiled = call.lower(state, feed.resident, taken).compile()

    def step() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(compiled(state, feed.resident, taken))

    return step, count


def torch_step(case: Case, who: str) -> tuple[Step, int]:
    """The same in PyTorch."""
    import numpy as np
    import torch

    import torch_simclr

    device = torch.device("cuda" if GPU.value else "cpu")
    cores = os.cpu_count() or 1
    # At tiny size threads would wait for each other more than they work.
    torch.set_num_threads(1 if SMALL.value else cores)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True  # as JAX does by default
    torch.manual_seed(0)
    network = torch_simclr.Network(case.width, case.blocks, case.projector)
    network = network.to(device=device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), _RATE, _MOMENTUM)
    shape = (case.batch, case.size, case.size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    length = (_WARM_UP + STEPS.value) * case.batch
    views = torch_simclr.Views(pixels, who == _PILLOW, length)
    loader = torch_simclr.batches(views, case.batch, cores)
    images = torch.from_numpy(pixels).to(device)

    def both() -> tuple[torch.Tensor, ...]:
        if who != _TORCH_PLAIN:
            return next(loader)
        plain = (images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        return plain, plain

    def step() -> None:
        first, second = (
            network(each.to(device=device, memory_format=torch.channels_last, non_blocking=True))
            for each in both()
        )
        optimizer.zero_grad(set_to_none=True)
        torch_simclr.nt_xent(first, second, _TEMPERATURE).backward()
        optimizer.step()
        if GPU.value:
            torch.cuda.synchronize()

    return step, sum(each.numel() for each in network.parameters())


def measure(who: str) -> dict[str, float]:
    """Images a second of one of them, in this process, after some steps to warm up."""
    if who in (OURS, PLAIN):
        step, parameters = our_step(case(), views=who == OURS)
    else:
        step, parameters = torch_step(case(), who)
    for _ in range(_WARM_UP):
        step()
    began = time.perf_counter()
    for _ in range(STEPS.value):
        step()
    seconds = time.perf_counter() - began
    return {"images_per_second": STEPS.value * case().batch / seconds, "parameters": parameters}


def in_a_process(who: str) -> dict[str, float]:
    """The same in a process of its own: threads and memory of the others stay out of the way."""
    settings = [f"--steps={STEPS.value}", f"--small={SMALL.value}", f"--gpu={GPU.value}"]
    command = [sys.executable, __file__, f"--of={who}", "--out=-", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def peers() -> list[str]:
    """Those that can run here; on a GPU ours is measured without them, too."""
    missing = [name for name in ("torch", "torchvision") if find_spec(name) is None]
    if missing and not GPU.value:
        raise SystemExit(f"missing: {', '.join(missing)}; pip install 'dlresearch[torch]'")
    if not missing and GPU.value:
        import torch

        missing = [] if torch.cuda.is_available() else ["a GPU that PyTorch finds"]
    return [] if missing else [_TENSORS, _PILLOW, _TORCH_PLAIN]


def main(_: list[str]) -> None:
    if OF.value is not None:
        print(json.dumps(measure(OF.value)))
        return
    from dlresearch.training.workdir import device_name

    others = peers()
    speeds: dict[str, list[float]] = {who: [] for who in (OURS, PLAIN, *others)}
    counts: dict[str, float] = {}
    for _ in range(2 if SMALL.value else ROUNDS.value):
        for who, measured in speeds.items():
            found = in_a_process(who)
            counts[who] = found["parameters"]
            measured.append(found["images_per_second"])
            print(f"{who}: {measured[-1]:.1f} images/s", flush=True)
    if len(set(counts.values())) > 1:
        raise SystemExit(f"not the same networks: {counts} parameters")

    def ratio(one: str, other: str) -> float:
        """Of neighbours in time, so that a slow spell of the machine cancels."""
        pairs = zip(speeds[one], speeds[other], strict=True)
        return statistics.median(first / second for first, second in pairs)

    libraries = ["jax", *(["torch", "torchvision"] if others else [])]
    figures = {
        "device": device_name(),
        "note": NOTE.value,
        **asdict(case()),
        "parameters": counts[OURS],
        "steps_a_round": STEPS.value,
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in libraries},
        "images_per_second": {
            who: [round(each, 2) for each in measured] for who, measured in speeds.items()
        },
        # Of the time of a step, what it does not take without views.
        "share_of_views": {
            who: round(1 - ratio(who, plain), 3) for who, plain in _WITHOUT.items() if who in speeds
        },
        "speed_over": {
            who: round(ratio(PLAIN if who == _TORCH_PLAIN else OURS, who), 3) for who in others
        },
    }
    Path(OUT.value).write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
