"""How fast a config runs on the devices there are."""

import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dlresearch.data import BucketedOrder
from dlresearch.hardware import peak_flops
from dlresearch.models import jaxpr_flops
from dlresearch.training.call import jit_call
from dlresearch.training.console import with_prefix
from dlresearch.training.loop import CALLS_AHEAD
from dlresearch.training.memory import estimated_bytes, peak_bytes
from dlresearch.training.profile import write_trace
from dlresearch.training.setup import Setup


def measure(setup: Setup, calls: int, trace: Path | None = None) -> dict[str, float]:
    """Figures of the training step, with their units in their names.

    `step_*` are of single calls, each waited for; `examples_per_second` and `waiting_for_data` are
    of calls as the loop makes them, several on their way at once. `dispatch` is the time until a
    call gives control back while the device still works. `utilisation` is against the vendor's peak
    in bfloat16, or, where none is known, as on CPU, against the best float32 matrix product here
    (`matmul_teraflops`).

    Args:
      trace: folder for a trace of the profiler, of calls after those that are timed.
    """
    caller = _Caller(setup)
    steps = caller.steps
    single, dispatch = [], []
    for _ in range(calls):
        taken = jax.block_until_ready(caller.take())
        began = time.perf_counter()
        caller.call(taken)
        dispatch.append(time.perf_counter() - began)
        jax.block_until_ready(caller.state)
        single.append((time.perf_counter() - began) / steps)

    caller.restart()  # the same steps again: all of their programs are there
    ahead: deque[Any] = deque()
    began = time.perf_counter()
    for _ in range(calls):
        ahead.append(caller.call(caller.take()))
        if len(ahead) > CALLS_AHEAD:
            ahead.popleft().block_until_ready()
    jax.block_until_ready(caller.state)
    elapsed = time.perf_counter() - began
    flops = caller.flops / (calls * steps)
    if trace is not None:
        taken = caller.take()  # the same for all, so that they are of one program
        write_trace(trace, lambda: caller.call_and_wait(taken), caller.text())
    caller.feed.close()

    per_second = flops * calls * steps / elapsed
    figures = {
        "compile_seconds": caller.seconds_compiling,
        "steps_per_call": float(steps),
        "step_milliseconds_median": 1e3 * float(np.median(single)),
        "step_milliseconds_10th_percentile": 1e3 * float(np.percentile(single, 10)),
        "step_milliseconds_90th_percentile": 1e3 * float(np.percentile(single, 90)),
        "examples_per_second": calls * steps * setup.examples_per_step / elapsed,
        "waiting_for_data": caller.feed.waiting / elapsed,
        "dispatch_microseconds_median": 1e6 * float(np.median(dispatch)),
        "step_gigaflops": flops / 1e9,
        "teraflops": per_second / 1e12,
        "peak_memory_gib": peak_bytes() / 2**30,
    }
    estimates = [estimated_bytes(program) for program, _ in caller.programs.values()]
    if known := [estimate for estimate in estimates if estimate is not None]:
        figures["estimated_memory_gib"] = max(known) / 2**30
    peaks = [peak_flops(device.device_kind) for device in jax.devices()]
    if all(peaks):
        peak = float(sum(p for p in peaks if p))
    else:
        peak = _matmul_flops()
        figures["matmul_teraflops"] = peak / 1e12
    return {**figures, "utilisation": per_second / peak}


class _Caller:
    """Calls of the compiled step, one after the other.

    Attributes:
      programs: by the width of the batch and the regularisers that are due, with the FLOPs of a
        step; each made its first call before any that counts.
      flops: of the calls since the start or `restart`.
    """

    def __init__(self, setup: Setup):
        self.setup, self.feed = setup, setup.make_feed()
        # In buckets, neighbours differ in width.
        bucketed = isinstance(setup.order, BucketedOrder)
        self.steps = 1 if bucketed else setup.steps_per_call
        self.programs: dict[Any, tuple[Any, float]] = {}
        self.seconds_compiling = 0.0
        self.restart()
        self.state = setup.initial_state(self.feed)

    def restart(self) -> None:
        self.feed.start(0)
        self.feed.waiting = self.flops = 0.0
        self._step, self._kind = 0, None

    def take(self) -> Any:
        """What the next call reads; those before it that needed a new program are made here."""
        while True:
            width = self.setup.order.width(self._step)
            due = self.setup.due(self._step, self.steps)
            self._kind = width, due
            taken = self.feed.take(self.steps)
            self._step += self.steps
            if self._kind in self.programs:
                return taken
            began = time.perf_counter()
            pick = partial(self.feed.pick, width=width)
            call = jit_call(
                partial(self.setup.step, due=due), pick, self.steps, self.setup.abstract_state
            )
            traced = call.trace(self.state, self.feed.resident, taken)
            flops = jaxpr_flops(traced.jaxpr) / self.steps
            self.programs[self._kind] = traced.lower().compile(), flops
            self.seconds_compiling += time.perf_counter() - began
            self.call(taken)
            jax.block_until_ready(self.state)

    def call(self, taken: Any) -> Array:
        program, flops = self.programs[self._kind]
        self.flops += flops * self.steps
        self.state, recorded = program(self.state, self.feed.resident, taken)
        return recorded.finite_steps

    def call_and_wait(self, taken: Any) -> None:
        """Make a call and wait until it is over."""
        jax.block_until_ready(self.call(taken))

    def text(self) -> str:
        """Return the program that the latest `take` is for, as XLA writes it."""
        program, _ = self.programs[self._kind]
        return program.as_text() or ""


def report(figures: Mapping[str, float]) -> str:
    """What `measure` gives, for a person."""
    median, low, high = (
        figures[f"step_milliseconds_{which}"]
        for which in ("median", "10th_percentile", "90th_percentile")
    )
    peak = "the peak in bfloat16 that the vendor gives"
    if "matmul_teraflops" in figures:
        best = with_prefix(figures["matmul_teraflops"] * 1e12, "FLOP/s")
        peak = f"the best float32 matrix product here, {best}"
    rows = {
        "compilation": f"{figures['compile_seconds']:.1f} s",
        "step": f"{median:.3g} ms, the middle 80 % from {low:.3g} to {high:.3g}",
        "steps in a call": f"{figures['steps_per_call']:.0f}",
        "throughput": f"{figures['examples_per_second']:,.0f} examples/s",
        "waiting for data": f"{figures['waiting_for_data']:.1%}",
        "dispatch": f"{figures['dispatch_microseconds_median']:,.0f} us",
        "computation": f"{with_prefix(figures['step_gigaflops'] * 1e9, 'FLOP')} a step,"
        f" {with_prefix(figures['teraflops'] * 1e12, 'FLOP/s')}",
        "utilisation": f"{figures['utilisation']:.1%} of {peak}",
        "peak memory": f"{figures['peak_memory_gib']:.2f} GiB",
    }
    if "estimated_memory_gib" in figures:
        estimate = f"{figures['estimated_memory_gib']:.2f} GiB on each device"
        rows["estimated memory"] = f"{estimate}, by what the compiled step says"
    return "\n".join(f"  {name:<18}{text}" for name, text in rows.items())


def _matmul_flops() -> float:
    """FLOP/s of the fastest of some float32 matrix products of 2048 x 2048 on one device."""
    size = 2048
    matrix = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(matrix))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(product(matrix))
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)
