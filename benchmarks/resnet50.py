"""Images a second of a ResNet-50 training step beside the same network in PyTorch, on this CPU.

    python benchmarks/resnet50.py --out=docs/results/resnet50-cpu.json
    python benchmarks/resnet50.py --small --out=/tmp/small.json        a proof at tiny size

Forward pass, gradients and an update by SGD with momentum, in float32, on one batch of noise that
is in memory. Ours is the trainer's compiled step, with its metrics and checks. PyTorch's is
torchvision's network in a loop as one writes it, in both memory formats. They take turns, each time
in a process of its own, so that what else the machine does falls on all alike; the median counts.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
BATCH = flags.DEFINE_integer("batch", 16, "Images of a step.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each is timed; the median counts.")
STEPS = flags.DEFINE_integer("steps", 4, "Steps of a round.")
OF = flags.DEFINE_string("of", None, "Measure one of them, and print the outcome.")
SMALL = flags.DEFINE_bool("small", False, "Two images of 64 x 64 and two rounds.")
NOTE = flags.DEFINE_string("note", "", "What else the machine did, for the record.")

_SIZE, _SMALL_SIZE = 224, 64
_CLASSES = 1000
_RATE, _MOMENTUM = 0.1, 0.9
OURS = "dlresearch"
_PEERS = {"contiguous": "contiguous_format", "channels last": "channels_last"}
Step = Callable[[], None]


def our_step(size: int, batch: int) -> tuple[Step, int]:
    """One step of the trainer, and the number of the network's parameters."""
    from dlresearch.config import component, default_config, validate
    from dlresearch.training import Setup
    from dlresearch.training.call import jit_call

    config = default_config()
    config.batch_size = batch
    config.model = component("resnet", depth=50)
    shapes = {"image": (size, size, 3)}
    config.data.source = component("synthetic", length=batch, shapes=shapes, num_classes=_CLASSES)
    config.data.placement = "resident"
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = _RATE
    config.optimizer.momentum = _MOMENTUM
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


def torch_step(size: int, batch: int, memory_format: str) -> tuple[Step, int]:
    """The same in PyTorch."""
    import torch

    layout = getattr(torch, memory_format)
    torch.manual_seed(0)
    make, _ = _peer()
    model = make(num_classes=_CLASSES).to(memory_format=layout).train()
    images = torch.randn(batch, 3, size, size).to(memory_format=layout)
    labels = torch.arange(batch) % _CLASSES
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE, momentum=_MOMENTUM)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step, sum(parameter.numel() for parameter in model.parameters())


def _peer() -> tuple[Callable[..., Any], str]:
    """The network of PyTorch, and where it comes from."""
    try:
        import torchvision
    except (ModuleNotFoundError, RuntimeError):  # missing, or built for another PyTorch
        from torch_resnet50 import ResNet50

        return ResNet50, "benchmarks/torch_resnet50.py"
    return torchvision.models.resnet50, f"torchvision {torchvision.__version__}"


def measure(name: str, size: int, batch: int) -> dict[str, Any]:
    """Images a second of one of them, in this process, after two steps to warm up."""
    if name == OURS:
        # Before JAX looks for devices: the peer is on the CPU.
        jax.config.update("jax_platforms", "cpu")
        step, parameters = our_step(size, batch)
    else:
        import torch

        torch.set_num_threads(os.cpu_count() or 1)
        step, parameters = torch_step(size, batch, _PEERS[name])
    for _ in range(2):
        step()
    began = time.perf_counter()
    for _ in range(STEPS.value):
        step()
    seconds = time.perf_counter() - began
    return {"images_per_second": STEPS.value * batch / seconds, "parameters": parameters}


def in_a_process(name: str) -> dict[str, Any]:
    """The same in a process of its own: threads and memory of the others stay out of the way."""
    flags_of = [f"--steps={STEPS.value}", f"--batch={BATCH.value}", f"--small={SMALL.value}"]
    command = [sys.executable, __file__, f"--of={name}", "--out=-", *flags_of]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main(_: list[str]) -> None:
    size, batch = (_SMALL_SIZE, 2) if SMALL.value else (_SIZE, BATCH.value)
    if OF.value is not None:
        print(json.dumps(measure(OF.value, size, batch)))
        return
    try:
        import torch
    except ModuleNotFoundError:
        raise SystemExit("PyTorch is missing; pip install 'dlresearch[torch]'") from None
    from dlresearch.training.workdir import device_name

    names = (OURS, *_PEERS)
    speeds: dict[str, list[float]] = {name: [] for name in names}
    counts: dict[str, int] = {}
    for _ in range(2 if SMALL.value else ROUNDS.value):
        for name in names:
            measured = in_a_process(name)
            counts[name] = measured["parameters"]
            speeds[name].append(measured["images_per_second"])
            print(f"{name}: {speeds[name][-1]:.2f} images/s", flush=True)
    if len(set(counts.values())) > 1:
        raise SystemExit(f"not the same network: {counts} parameters")
    ours = speeds.pop(OURS)
    fastest = max(speeds, key=lambda name: statistics.median(speeds[name]))
    theirs = speeds[fastest]
    figures = {
        "device": device_name(),
        "note": NOTE.value,
        "batch": batch,
        "size": size,
        "parameters": counts[OURS],
        "steps_a_round": STEPS.value,
        "versions": {"jax": jax.__version__, "torch": torch.__version__},
        "torch_network": _peer()[1],
        "torch_threads": os.cpu_count(),
        "images_per_second": [round(speed, 3) for speed in ours],
        "torch_images_per_second": {
            name: [round(speed, 3) for speed in values] for name, values in speeds.items()
        },
        "torch_format": fastest,
        # Of neighbours in time, so that a slow spell of the machine cancels.
        "ratio_median": round(
            statistics.median(own / other for own, other in zip(ours, theirs, strict=True)), 3
        ),
    }
    Path(OUT.value).write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
