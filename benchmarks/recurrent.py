"""A training step of an LSTM language model beside Flax's `nn.RNN` and PyTorch.

    python benchmarks/recurrent.py --out=docs/results/recurrent-cpu.json
    python benchmarks/recurrent.py --gpu --out=gpu.json         cuDNN beside our scan, on a GPU
    python benchmarks/recurrent.py --small --out=/tmp/small.json         a proof at tiny size

Embedding, two layers of 512, softmax over 10,000 tokens, 32 rows of 35 tokens of noise: forward
pass, gradients and plain gradient descent, in float32. They take turns, each time in a process of
its own, so that what else the machine does falls on all alike; the median counts.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from absl import app, flags

OUT = flags.DEFINE_string("out", None, "File for the figures.", required=True)
ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each is timed; the median counts.")
STEPS = flags.DEFINE_integer("steps", 10, "Steps of a round.")
OF = flags.DEFINE_string("of", None, "Measure one of them, and print the outcome.")
GPU = flags.DEFINE_bool("gpu", False, "On the GPU: our scan, cuDNN and Flax.")
SMALL = flags.DEFINE_bool("small", False, "Two rounds at tiny size.")
NOTE = flags.DEFINE_string("note", "", "What else the machine did, for the record.")

OURS, CUDNN, FLAX, TORCH = "dlresearch", "dlresearch, cuDNN", "Flax nn.RNN", "PyTorch nn.LSTM"
_LAYERS = 2
_RATE = 0.1
_SIZES = {"batch": 32, "steps": 35, "width": 512, "vocabulary": 10_000}
_SMALL_SIZES = {"batch": 2, "steps": 3, "width": 8, "vocabulary": 11}
Step = Callable[[], None]


def jax_step(name: str, batch: int, steps: int, width: int, vocabulary: int) -> Step:
    """One step of ours or of Flax's, the same around the recurrent layers."""
    import optax
    from flax import linen as nn

    from dlresearch.models import Recurrent

    class LanguageModel(nn.Module):
        @nn.compact
        def __call__(self, tokens: jax.Array) -> jax.Array:
            x: Any = nn.Embed(vocabulary, width)(tokens)
            if name == FLAX:
                for _ in range(_LAYERS):
                    x = nn.RNN(nn.OptimizedLSTMCell(width))(x)
            else:
                backend = "cudnn" if name == CUDNN else "scan"
                x, _ = Recurrent(width, layers=_LAYERS, backend=backend)(x, train=True)
            return nn.Dense(vocabulary)(x)

    model = LanguageModel()
    tokens = jax.random.randint(jax.random.key(0), (batch, steps), 0, vocabulary)
    params = model.init(jax.random.key(1), tokens)

    def loss(params: Any) -> jax.Array:
        logits: Any = model.apply(params, tokens)
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens).mean()

    def update(params: Any) -> Any:
        gradients = jax.grad(loss)(params)
        return jax.tree.map(lambda old, slope: old - _RATE * slope, params, gradients)

    compiled = jax.jit(update, donate_argnums=0)

    def step() -> None:
        nonlocal params
        params = jax.block_until_ready(compiled(params))

    return step


def torch_step(batch: int, steps: int, width: int, vocabulary: int) -> Step:
    """The same in PyTorch, time-major, as is fastest there."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    embed = torch.nn.Embedding(vocabulary, width)
    layers = torch.nn.LSTM(width, width, _LAYERS)
    output = torch.nn.Linear(width, vocabulary)
    tokens = torch.randint(vocabulary, (steps, batch))
    parameters = [each for part in (embed, layers, output) for each in part.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=_RATE)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        logits = output(layers(embed(tokens))[0])
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()

    return step


def measure(name: str) -> float:
    """Milliseconds a step of one of them, in this process, after two steps to warm up."""
    sizes = _SMALL_SIZES if SMALL.value else _SIZES
    if not GPU.value:
        jax.config.update("jax_platforms", "cpu")  # before JAX looks for devices
    step = torch_step(**sizes) if name == TORCH else jax_step(name, **sizes)
    for _ in range(2):
        step()
    began = time.perf_counter()
    for _ in range(STEPS.value):
        step()
    return 1000 * (time.perf_counter() - began) / STEPS.value


def in_a_process(name: str) -> float:
    """The same in a process of its own: threads and memory of the others stay out of the way."""
    settings = [f"--steps={STEPS.value}", f"--small={SMALL.value}", f"--gpu={GPU.value}"]
    command = [sys.executable, __file__, f"--of={name}", "--out=-", *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main(_argv: list[str]) -> None:
    if OF.value is not None:
        print(json.dumps(measure(OF.value)))
        return
    from dlresearch.models.recurrent_cudnn import is_at_hand
    from dlresearch.training.workdir import device_name

    names = [OURS, FLAX, *([] if GPU.value else [TORCH])]
    if GPU.value and is_at_hand():
        names.insert(0, CUDNN)
    elif GPU.value and not SMALL.value:
        raise SystemExit("no NVIDIA GPU here; --small proves what can run without")
    milliseconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(2 if SMALL.value else ROUNDS.value):
        for name in names:
            milliseconds[name].append(in_a_process(name))
            print(f"{name}: {milliseconds[name][-1]:.1f} ms", flush=True)
    packages = ["jax", "flax", *(["torch"] if TORCH in names else [])]
    first = milliseconds[names[0]]
    figures = {
        "device": device_name(),
        "note": NOTE.value,
        **(_SMALL_SIZES if SMALL.value else _SIZES),
        "layers": _LAYERS,
        "steps_a_round": STEPS.value,
        "versions": {name: version(name) for name in packages},
        "milliseconds": {
            name: [round(each, 3) for each in values] for name, values in milliseconds.items()
        },
        # Of neighbours in time, so that a slow spell of the machine cancels.
        "speed_over": {
            name: round(
                statistics.median(
                    other / own for own, other in zip(first, milliseconds[name], strict=True)
                ),
                3,
            )
            for name in names[1:]
        },
    }
    Path(OUT.value).write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    app.run(main)
