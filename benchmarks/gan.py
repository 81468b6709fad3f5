"""A training step of DCGAN and of StyleGAN2 beside the same in PyTorch.

    python benchmarks/gan.py --out=docs/results/gan-cpu.json
    python benchmarks/gan.py --gpu --out=gpu.json         on a GPU, StyleGAN2 at its full width
    python benchmarks/gan.py --small --out=/tmp/small.json         a proof at tiny size

An update of the discriminator and one of the generator, each on generated images of its own, with
the non-saturating loss and Adam, in float32; images are noise in memory. StyleGAN2 is that for
CIFAR-10, without classes, path lengths and averages, with R1 in every 16th step, so a round has a
multiple of 16 steps. Ours is the trainer's compiled step, with its metrics and checks; PyTorch's a
loop as one writes it, in both memory formats. They take turns, each time in a process of its own,
so that what else the machine does falls on all alike; the median counts.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each is timed; the median counts.")
STEPS = flags.DEFINE_integer("steps", 16, "Steps of a round.")
ONLY = flags.DEFINE_string("only", "", "Networks whose name holds this text.")
OF = flags.DEFINE_string("of", None, "Measure one of them, and print the outcome.")
GPU = flags.DEFINE_bool("gpu", False, "On the GPU; beside PyTorch where it finds it, too.")
SMALL = flags.DEFINE_bool("small", False, "Two rounds at tiny size.")
NOTE = flags.DEFINE_string("note", "", "What else the machine did, for the record.")

OURS = "dlresearch"
_PEERS = {"PyTorch": "contiguous_format", "PyTorch, channels last": "channels_last"}
_R1, _R1_EVERY = 0.01, 16
Step = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """Networks, their sizes, and how they learn.

    Attributes:
      width: channels at half of the size of DCGAN, at most so many at any size of StyleGAN2.
    """

    family: str
    size: int
    channels: int
    batch: int
    latent: int
    width: int

    @property
    def is_style(self) -> bool:
        return self.family == "StyleGAN2"

    @property
    def adam(self) -> tuple[float, float, float]:
        """Learning rate and decays, as published."""
        return (2.5e-3, 0.0, 0.99) if self.is_style else (2e-4, 0.5, 0.999)


def cases() -> dict[str, Case]:
    """By name; on CPU StyleGAN2 has a quarter of its width, and half of the batch."""
    style = Case("StyleGAN2", 32, 3, 64, 512, 512)
    if not GPU.value:
        style = replace(style, batch=32, width=128)
    all_of_them = [Case("DCGAN", 28, 1, 64, 100, 128), Case("DCGAN", 32, 3, 64, 100, 128), style]
    if SMALL.value:
        all_of_them = [replace(case, batch=4, latent=8, width=4) for case in all_of_them]
    named = {f"{case.family} {case.size} x {case.size}": case for case in all_of_them}
    return {name: case for name, case in named.items() if ONLY.value in name}


def our_step(case: Case) -> tuple[Step, int]:
    """A step of the trainer, and the number of parameters of both networks."""
    from dlresearch.config import component, default_config, validate
    from dlresearch.training import Setup
    from dlresearch.training.call import jit_call

    config = default_config()
    config.batch_size = case.batch
    shapes = {"image": (case.size, case.size, case.channels)}
    config.data.source = component("synthetic", length=case.batch, shapes=shapes)
    config.data.placement = "resident"
    optimizer = config.optimizer
    optimizer.learning_rate, optimizer.b1, optimizer.b2 = case.adam
    if case.is_style:
        widths: dict[str, Any] = {"channel_base": 32 * case.width, "channel_max": case.width}
        generator = component(
            "stylegan2_generator",
            mapping_layers=2,
            style_width=case.latent,
            style_mixing=0.0,
            **widths,
        )
        discriminator = component(
            "stylegan2_discriminator", architecture="plain", group_size=32, **widths
        )
        penalty = {"r1": _R1, "penalty_every": _R1_EVERY}
    else:
        doublings = 2 if case.size == 28 else 3
        up = tuple(case.width * 2**k for k in range(doublings))
        generator = component("dcgan_generator", widths=up[::-1])
        discriminator = component("dcgan_discriminator", widths=up)
        penalty = {}
    config.model = generator
    config.task = component("gan", discriminator=discriminator, latent=case.latent, **penalty)
    setup = Setup(validate(config))
    feed = setup.make_feed()
    feed.start(0)
    state, taken = setup.initial_state(feed), feed.take(1)
    count = sum(leaf.size for leaf in jax.tree.leaves(state.variables.params))
    compiled: dict[Any, Any] = {}
    number = 0

    def step() -> None:
        nonlocal state, number
        due = setup.due(number)
        if due not in compiled:
            call = jit_call(partial(setup.step, due=due), feed.pick, 1, setup.abstract_state)
            compiled[due] = call.lower(state, feed.resident, taken).compile()
        state, _ = jax.block_until_ready(compiled[due](state, feed.resident, taken))
        number += 1

    return step, count


def torch_step(case: Case, memory_format: str) -> tuple[Step, int]:
    """The same in PyTorch."""
    import torch
    from torch.nn.functional import softplus

    import torch_gan

    device = torch.device("cuda" if GPU.value else "cpu")
    # At tiny size threads would wait for each other more than they work.
    torch.set_num_threads(1 if SMALL.value else os.cpu_count() or 1)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True  # as JAX does by default
    torch.manual_seed(0)
    layout = getattr(torch, memory_format)
    sizes = (case.size, case.channels, case.latent)
    if case.is_style:
        networks = torch_gan.stylegan2(*sizes, base=32 * case.width, largest=case.width)
    else:
        networks = torch_gan.dcgan(*sizes, widest=case.width)
    generator, discriminator = (
        network.to(device=device, memory_format=layout) for network in networks
    )
    rate, *decays = case.adam
    optimizers = [
        torch.optim.Adam(network.parameters(), rate, betas=tuple(decays), fused=True)
        for network in (generator, discriminator)
    ]
    shape = (case.batch, case.channels, case.size, case.size)
    real = torch.randn(shape, device=device).to(memory_format=layout)
    number = 0

    def fakes() -> torch.Tensor:
        return generator(torch.randn(case.batch, case.latent, device=device))

    def update(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def step() -> None:
        nonlocal number
        with torch.no_grad():
            fake = fakes()
        loss = softplus(-discriminator(real)).mean() + softplus(discriminator(fake)).mean()
        update(optimizers[1], loss)
        if case.is_style and number % _R1_EVERY == 0:
            seen = real.detach().requires_grad_()
            (slope,) = torch.autograd.grad(discriminator(seen).sum(), seen, create_graph=True)
            penalty = slope.square().sum((1, 2, 3)).mean()
            update(optimizers[1], _R1 / 2 * _R1_EVERY * penalty)
        discriminator.requires_grad_(False)
        update(optimizers[0], softplus(-discriminator(fakes())).mean())
        discriminator.requires_grad_(True)
        if GPU.value:
            torch.cuda.synchronize()
        number += 1

    count = sum(each.numel() for network in networks for each in network.parameters())
    return step, count


def measure(case: Case, who: str) -> dict[str, float]:
    """Milliseconds a step of one of them, in this process, after two steps to warm up."""
    if not GPU.value:
        jax.config.update("jax_platforms", "cpu")  # before JAX looks for devices
    step, parameters = our_step(case) if who == OURS else torch_step(case, _PEERS[who])
    for _ in range(2):
        step()
    began = time.perf_counter()
    for _ in range(STEPS.value):
        step()
    milliseconds = 1000 * (time.perf_counter() - began) / STEPS.value
    return {"milliseconds": milliseconds, "parameters": parameters}


def in_a_process(name: str, who: str) -> dict[str, float]:
    """The same in a process of its own: threads and memory of the others stay out of the way."""
    settings = [f"--steps={STEPS.value}", f"--small={SMALL.value}", f"--gpu={GPU.value}"]
    command = [sys.executable, __file__, f"--of={name}/{who}", "--out=-", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def peers() -> list[str]:
    """Those that can run here; on a GPU ours is measured without them, too."""
    if find_spec("torch") is None:
        if GPU.value:
            return []
        raise SystemExit("PyTorch is missing; pip install 'dlresearch[torch]'")
    if GPU.value:
        import torch

        return list(_PEERS) if torch.cuda.is_available() else []
    return list(_PEERS)


def compared(name: str, case: Case, others: list[str]) -> dict[str, Any]:
    """The figures of one case."""
    milliseconds: dict[str, list[float]] = {who: [] for who in (OURS, *others)}
    counts: dict[str, float] = {}
    for _ in range(2 if SMALL.value else ROUNDS.value):
        for who in milliseconds:
            measured = in_a_process(name, who)
            counts[who] = measured["parameters"]
            milliseconds[who].append(measured["milliseconds"])
            print(f"{name}, {who}: {milliseconds[who][-1]:.1f} ms", flush=True)
    if len(set(counts.values())) > 1:
        raise SystemExit(f"not the same networks: {counts} parameters")
    return {
        **asdict(case),
        "parameters": counts[OURS],
        "milliseconds": {
            who: [round(each, 3) for each in values] for who, values in milliseconds.items()
        },
        # Of neighbours in time, so that a slow spell of the machine cancels.
        "speed_over": {
            who: round(
                statistics.median(
                    other / own
                    for own, other in zip(milliseconds[OURS], milliseconds[who], strict=True)
                ),
                3,
            )
            for who in others
        },
    }


def main(_: list[str]) -> None:
    if OF.value is not None:
        name, who = OF.value.split("/")
        print(json.dumps(measure(cases()[name], who)))
        return
    from dlresearch.training.workdir import device_name

    if STEPS.value % _R1_EVERY and not SMALL.value:
        raise SystemExit(f"--steps={STEPS.value}: R1 comes every {_R1_EVERY}; take a multiple")
    others = peers()
    figures = {
        "device": device_name(),
        "note": NOTE.value,
        "steps_a_round": STEPS.value,
        "versions": {name: version(name) for name in ["jax", *(["torch"] if others else [])]},
        "networks": {name: compared(name, case, others) for name, case in cases().items()},
    }
    Path(OUT.value).write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
