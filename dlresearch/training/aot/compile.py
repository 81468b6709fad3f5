"""The training step of an experiment and a batch of each evaluator, compiled for a target."""

import time
from collections.abc import Iterator
from functools import partial

import jax
from jax.stages import Traced

from dlresearch.models import jaxpr_flops
from dlresearch.parallel import batch_shards, bytes_per_device
from dlresearch.training.aot.program import Program, program_of
from dlresearch.training.aot.report import Plan
from dlresearch.training.call import jit_call
from dlresearch.training.setup import Setup

_NO_TILES = "Couldn't find output tile sizes"


def compile_step(setup: Setup) -> Program:
    """Compile the call of the training step that the loop makes, for the widest batch."""
    feed, steps = setup.abstract_feed(), setup.steps_per_call
    step = partial(setup.step, due=setup.due(0, steps))
    call = jit_call(step, partial(feed.pick, width=None), steps, setup.abstract_state)
    return _compiled(
        "step", call.trace(setup.abstract_state, feed.resident, setup.taken_shapes(steps)), setup
    )


def compile_evaluations(setup: Setup) -> Iterator[Program]:
    """Compile what each evaluator runs on its first batch."""
    variables = setup.evaluation_variables(setup.abstract_state.variables)
    for name, evaluation in setup.evaluations.items():
        traced = evaluation.traced(setup.predict, variables)
        if traced is not None:
            yield _compiled(name, traced, setup)


def plan_of(setup: Setup) -> Plan:
    """What of a run decides how much memory it takes."""
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
        resident=bytes_per_device(setup.abstract_feed().resident),
        state_everywhere=sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
    )


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
