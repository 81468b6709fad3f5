"""Figures read from a program's text are those counted by hand."""

from types import SimpleNamespace

import pytest

from dlresearch.hardware import target
from dlresearch.training.aot.program import program_of, roofline
from dlresearch.training.aot.report import Plan, describe_step

TEXT = """HloModule test

%picked (p: f32[1000,8], at: s32[]) -> f32[1,8] {
  %p = f32[1000,8] parameter(0)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice = f32[1,8] dynamic-slice(%p, %at, %zero), dynamic_slice_sizes={1,8}
}

%kept (p: f32[1000,8], new: f32[1,8], at: s32[]) -> f32[1000,8] {
  %p = f32[1000,8] parameter(0)
  %new = f32[1,8] parameter(1)
  %at = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %update = f32[1000,8] dynamic-update-slice(%p, %new, %at, %zero)
}

%body (state: (s32[], f32[1000,8])) -> (s32[], f32[1000,8]) {
  %state = (s32[], f32[1000,8]) parameter(0)
  %at = s32[] get-tuple-element(%state), index=0
  %all = f32[1000,8] get-tuple-element(%state), index=1
  %row = f32[1,8] fusion(%all, %at), kind=kLoop, calls=%picked
  %new = f32[1000,8] fusion(%all, %row, %at), kind=kLoop, calls=%kept
  ROOT %next = (s32[], f32[1000,8]) tuple(%at, %new)
}

%condition (state: (s32[], f32[1000,8])) -> pred[] {
  %state = (s32[], f32[1000,8]) parameter(0)
  ROOT %true = pred[] constant(true)
}

ENTRY %main (x: bf16[4,8], w: bf16[8,16], start: (s32[], f32[1000,8])) -> bf16[4,16] {
  %x = bf16[4,8] parameter(0)
  %w = bf16[8,16] parameter(1)
  %start = (s32[], f32[1000,8]) parameter(2)
  %loop = (s32[], f32[1000,8]) while(%start), condition=%condition, body=%body, \
backend_config={"known_trip_count":{"n":"5"}}
  %sent = bf16[4,8] all-reduce(%x), channel_id=1, replica_groups={{0,1}}, to_apply=%condition
  %product = bf16[4,16] custom-call(%sent, %w), custom_call_target="__cublas$gemm"
  ROOT %image = bf16[4,16] custom-call(%product), custom_call_target="__cudnn$convForward"
}
"""
ROW, X, W, Y = 4 * 8, 2 * 32, 2 * 128, 2 * 64  # bytes
# In the loop a row is read and written (and the place of it, an s32), and a row is put in place.
LOOP = 5 * ((ROW + 4 + ROW) + (ROW + 4 + ROW))
GIB = 2**30


def compiled(temporaries: int = 100):
    memory = SimpleNamespace(
        argument_size_in_bytes=1000,
        output_size_in_bytes=600,
        alias_size_in_bytes=500,
        temp_size_in_bytes=temporaries,
    )
    return SimpleNamespace(as_text=lambda: TEXT, memory_analysis=lambda: memory)


def test_bytes_operations_and_collectives_are_counted():
    program = program_of("step", compiled(), 2, 8e9, 1.26)
    assert program.memory == 1000 + 600 - 500 + 100
    assert program.flops == 4e9
    assert program.moved == LOOP + 2 * X + (X + W + Y) + (Y + Y)
    assert program.operations == {"cuBLAS": 1, "cuDNN": 1}
    assert program.collectives == {"all-reduce": 1}
    assert program.sent == X  # 2 (n - 1) / n of it
    assert (program.host_transfers, program.seconds) == (0, 1.3)


def test_the_roofline_is_the_slower_of_arithmetic_and_memory():
    program = program_of("step", compiled(), 1, 1e12, 0)
    assert roofline(program, peak=1e13, bandwidth=1e12) == (0.1, "arithmetic")
    seconds, bound = roofline(program, peak=1e20, bandwidth=1e3)
    assert (seconds, bound) == (program.moved / 1e3, "memory bandwidth")


def report(temporaries: int, **changes) -> str:
    plan = {
        "precision": "bfloat16",
        "batch_size": 256,
        "examples": 256,
        "accumulate": 1,
        "remat": "none",
        "fsdp": 1,
        "shards": 8,
        "steps": 1,
        "state": 500,
        "resident": 200,
        "state_everywhere": 500,
    }
    program = program_of("step", compiled(temporaries), 8, 8e9, 1)
    return "\n".join(describe_step(program, target("h100:8"), Plan(**{**plan, **changes})))


def test_a_step_that_fits_says_how_much_it_takes():
    text = report(30 * GIB)
    assert "fits: 51% of the 59.33 GiB that JAX takes of 79.11 GiB" in text
    assert "30.00 GiB  activations and other temporaries" in text
    assert "does not fit" not in text and "--config" not in text


def test_a_step_that_does_not_fit_says_what_would_help():
    text = report(90 * GIB)
    assert "does not fit: 152%" in text
    # 59.33 / 90 of 256 is 168.7, and 8 devices share a batch; half of it is enough.
    assert "--config.batch_size=168\n" in text
    assert "--config.accumulate=2\n" in text
    assert "--config.remat=dots or =blocks" in text
    assert "fsdp" not in text  # the state is small


def test_a_state_that_does_not_fit_is_split():
    state = 70 * GIB
    plan = {"state": state, "state_everywhere": state, "remat": "dots"}
    program = compiled(GIB)
    program.memory_analysis().argument_size_in_bytes = state
    made = program_of("step", program, 8, 8e9, 1)
    text = "\n".join(
        describe_step(
            made,
            target("h100:8"),
            Plan("bfloat16", 256, 256, 1, plan["remat"], 1, 8, 1, state, 0, state),
        )
    )
    assert "--config.mesh.fsdp=8, which saves 61.25 GiB of state" in text
    assert "batch_size" not in text and "accumulate" not in text and "remat" not in text


@pytest.mark.parametrize("remat", ["dots", "blocks"])
def test_what_is_done_already_is_not_proposed(remat):
    assert "remat" not in report(90 * GIB, remat=remat)
    assert "--config.accumulate=4\n" in report(90 * GIB, accumulate=2, batch_size=512) + "\n"
