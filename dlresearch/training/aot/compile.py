"""The training step of an experiment and a batch of each evaluator, compiled for a target."""

import time
from collections.abc import Iterator
from functools import partial
from typing import cast

import jax
import numpy as np
from jax.stages import Traced
from jaxtyping import Array

from dlresearch.data import EPOCH, EXAMPLE
from dlresearch.models import jaxpr_flops
from dlresearch.parallel import batch_sharding, batch_shards, bytes_per_device, replicated
from dlresearch.training.aot.program import Program, program_of
from dlresearch.training.aot.report import Plan
from dlresearch.training.call import jit_call
from dlresearch.training.setup import Setup

_NO_TILES = "Couldn't find output tile sizes"


def compile_step(setup: Setup) -> Program:
    """Compile the call of the training step that the loop makes, for the widest batch."""
    resident, steps = _resident(setup), setup.steps_per_call
    feed = setup.make_feed(resident=cast(dict[str, Array], resident))
    step = partial(setup.step, due=setup.due(0, steps))
    call = jit_call(step, partial(feed.pick, width=None), steps, setup.abstract_state)
    return _compiled(
        "step", call.trace(setup.abstract_state, resident, _taken(setup, steps)), setup
    )


def compile_evaluations(setup: Setup) -> Iterator[Program]:
    """Compile what each evaluator runs on its first batch."""
    variables = setup.evaluation_variables(setup.abstract_state.variables)
    for name, evaluation in setup.evaluations.items():
        traced = evaluation.traced(setup.predict, variables)
        if traced is not None:
            yield _compiled(name, traced, setup)


def plan_of(setup: Setup) -> Plan:
    """Return the settings and sizes of a run that decide how much memory it takes."""
    experiment, state = setup.experiment, setup.abstract_state
    return Plan(
        precision=experiment.precision,
        batch_size=experiment.batch_size,
        examples=setup.examples_per_step,
        accumulate=experiment.accumulate,
        remat=experiment.remat,
        fsdp=setup.mesh.shape["fsdp"],
        shards=batch_shards(setup.mesh),
        steps=setup.steps_per_call,
        state=bytes_per_device(state),
        resident=bytes_per_device(_resident(setup)),
        state_everywhere=sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
    )


def _resident(setup: Setup) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the training examples that stay on each device; empty where they are streamed."""
    if setup.experiment.data.placement != "resident":
        return {}
    sharding = replicated(setup.mesh)
    return {
        name: jax.ShapeDtypeStruct(
            (len(setup.source), *each.shape[1:]), each.dtype, sharding=sharding
        )
        for name, each in setup.batch_shapes.items()
        if name not in (EXAMPLE, EPOCH)
    }


def _taken(setup: Setup, steps: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of what a call of so many steps reads: `Feed.take(steps)`."""
    shapes = setup.batch_shapes
    if setup.experiment.data.placement == "resident":
        place = jax.ShapeDtypeStruct((setup.examples_per_step,), np.int32)
        shapes = {name: place for name in (EXAMPLE, EPOCH) if name == EXAMPLE or name in shapes}
    sharding = batch_sharding(setup.mesh, leading=int(steps > 1))
    leading = (steps,) if steps > 1 else ()
    return {
        name: jax.ShapeDtypeStruct((*leading, *each.shape), each.dtype, sharding=sharding)
        for name, each in shapes.items()
    }


def _compiled(name: str, traced: Traced, setup: Setup) -> Program:
    lowered, note = traced.lower(), ""
    began = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if _NO_TILES not in str(error):
            raise
        # On a GPU XLA tries several tiles, and cuBLAS; without one it takes its default.
        compiled = lowered.compile(compiler_options={"xla_gpu_enable_triton_gemm": False})
        note = "all matrix products by cuBLAS: Triton's default tiles do not fit one of them"
    seconds = time.perf_counter() - began
    flops = jaxpr_flops(traced.jaxpr)
    return program_of(name, compiled, setup.mesh.size, flops, seconds, note)
