"""What a program sends, read from its text, is what a count by hand gives."""

import subprocess
import sys

import pytest

from dlresearch.training.aot.collectives import collectives
from helpers.processes import ROOT, environment

HEADER = """HloModule test

add { unused }

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

"""


def entry(*lines: str) -> str:
    return HEADER + "ENTRY %main (x: f32[8]) -> f32[8] {\n" + "\n".join(lines) + "\n}\n"


def one(line: str, devices: int = 8):
    (found,) = collectives(entry(f"  ROOT %y = {line}"), devices)
    return found


@pytest.mark.parametrize(
    ("line", "kind", "sent"),
    [
        # 8 devices, unless a group says otherwise.
        ("f32[1000]{0} all-reduce(%x), replica_groups={}", "all-reduce", 2 * 7 / 8 * 4000),
        ("bf16[10,5]{1,0} all-reduce(%x), channel_id=3", "all-reduce", 2 * 7 / 8 * 100),
        (
            "f32[1000]{0} all-reduce(%x), replica_groups={{0,1},{2,3},{4,5},{6,7}}",
            "all-reduce",
            2 * 1 / 2 * 4000,
        ),
        (
            "(f32[10]{0}, /*index=1*/bf16[4]{0:T(8)S(1)}) all-reduce(%x, %z), replica_groups={}",
            "all-reduce",
            2 * 7 / 8 * (40 + 8),
        ),
        ("f32[80]{0} all-gather(%x), replica_groups=[1,8]<=[8]", "all-gather", 7 / 8 * 320),
        ("f32[10]{0} reduce-scatter(%x), replica_groups={}", "reduce-scatter", 7 / 8 * 320),
        ("f32[8,10]{1,0} all-to-all(%x), replica_groups=[2,4]<=[8]", "all-to-all", 3 / 4 * 320),
        (
            "(f32[1,10]{1,0}, f32[1,10]{1,0}) all-to-all(%x, %z), replica_groups={{0,1}}",
            "all-to-all",
            1 / 2 * 80,
        ),
        (
            "bf16[10]{0} collective-permute(%x), source_target_pairs={{0,1},{1,0}}",
            "collective-permute",
            20,
        ),
        ("pred[10]{0} all-gather(%x), replica_groups={}", "all-gather", 7 / 8 * 10),
    ],
)
def test_a_device_sends_what_a_ring_sends(line, kind, sent):
    found = one(line)
    assert (found.kind, found.times) == (kind, 1)
    assert found.wire_bytes() == sent


@pytest.mark.parametrize(
    ("groups", "first"),
    [
        ("{{0,2,4,6},{1,3,5,7}}", (0, 2, 4, 6)),
        ("[2,4]<=[8]", (0, 1, 2, 3)),
        ("[4,2]<=[2,4]T(1,0)", (0, 4)),
        ("[2,4]<=[2,2,2]T(1,0,2)", (0, 1, 4, 5)),
        ("mesh['a'=2,'b'=4] {'b'}", (0, 1, 2, 3)),
        ("mesh['a'=2,'b'=4] {'a'}", (0, 4)),
        ("mesh['a'=2,'b'=2,'c'=2] {'a','c'}", (0, 1, 4, 5)),
        ("mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}", (0, 1)),
        ("mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}", (0, 2, 4, 6)),
        ("{}", tuple(range(8))),
    ],
)
def test_groups_are_read_in_each_way_they_are_written(groups, first):
    assert one(f"f32[4]{{0}} all-reduce(%x), replica_groups={groups}").group == first


def test_a_start_and_its_done_are_one():
    found = collectives(
        entry(
            "  %s = (f32[10]{0}, f32[80]{0}) all-gather-start(%x), replica_groups={}, channel_id=1",
            "  %d = f32[80]{0} all-gather-done(%s)",
            "  %t = f32[6]{0} all-reduce-start(%x), replica_groups={}, channel_id=2",
            "  %e = f32[6]{0} all-reduce-done(%t)",
            "  %u = (f32[5]{0}, f32[5]{0}, u32[], u32[]) collective-permute-start(%x),"
            " channel_id=3, source_target_pairs={{0,1}}",
            "  ROOT %f = f32[5]{0} collective-permute-done(%u)",
        ),
        8,
    )
    assert [each.wire_bytes() for each in found] == [7 / 8 * 320, 2 * 7 / 8 * 24, 20]


def loop(inner_rest: str = "") -> str:
    """An all-gather before it, an all-reduce 5 x 7 times in two loops."""
    condition = """%{name} (p: (s32[], f32[10])) -> pred[] {{
  %p = (s32[], f32[10]) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %n = s32[] constant(7)
  ROOT %less = pred[] compare(%i, %n), direction={direction}
}}

"""
    return (
        HEADER
        + condition.format(name="inner_condition", direction="LT")
        + condition.format(name="outer_condition", direction="NE")
        + """%inner (p: (s32[], f32[10])) -> (s32[], f32[10]) {
  %p = (s32[], f32[10]) parameter(0)
  %v = f32[10]{0} get-tuple-element(%p), index=1
  %r = f32[10]{0} all-reduce(%v), replica_groups={}, to_apply=%add
  ROOT %t = (s32[], f32[10]) tuple(%i, %r)
}

%outer (p: (s32[], f32[10])) -> (s32[], f32[10]) {
  %p = (s32[], f32[10]) parameter(0)
  ROOT %w = (s32[], f32[10]) while(%p), condition=%inner_condition, body=%inner
}

ENTRY %main (x: f32[10]) -> (s32[], f32[10]) {
  %g = f32[80]{0} all-gather(%x), replica_groups={}
  ROOT %w = (s32[], f32[10]) while(%g), condition=%outer_condition, body=%outer"""
        + inner_rest
        + "\n}\n"
    )


def test_what_is_in_a_loop_counts_as_often_as_it_runs():
    noted = ', backend_config={"known_trip_count":{"n":"5"}}'
    gather, reduce = collectives(loop(noted), 8)
    assert (gather.times, reduce.times) == (1, 5 * 7)
    assert reduce.wire_bytes() == 5 * 7 * 2 * 7 / 8 * 40


def test_a_loop_of_unknown_length_is_no_guess():
    with pytest.raises(ValueError, match="no one knows how often the loop w runs"):
        collectives(loop(), 8)
    assert [each.times for each in collectives(loop(), 8, unknown_loops=2)] == [1, 2 * 7]


def test_a_sum_of_which_a_part_is_kept_may_become_a_reduce_scatter():
    def scattered(*lines: str) -> bool:
        first = "  %y = bf16[16]{0} all-reduce(%x), replica_groups={}"
        (found,) = collectives(entry(first, *lines), 8)
        return found.scattered

    convert = "  %c = f32[16]{0} convert(%y)"
    part = "  ROOT %p = f32[2]{0} dynamic-slice(%c, %i), dynamic_slice_sizes={2}"
    assert scattered(convert, part)
    assert not scattered(convert, part, "  %norm = f32[16]{0} multiply(%c, %c)")
    assert not scattered()


def test_devices_of_a_host_share_what_goes_to_other_hosts():
    """16 devices, hosts of 8: a sum in each host, one of each eighth between the two, and back."""
    found = one("f32[1000]{0} all-reduce(%x), replica_groups={}", devices=16)
    assert found.wire_bytes(8) == 2 * 7 / 8 * 4000
    assert found.network_bytes(8) == 2 * 1 / 2 * 4000 / 8
    # To each of 15 others a sixteenth, 8 of them elsewhere.
    found = one("f32[16,10]{1,0} all-to-all(%x), replica_groups={}", devices=16)
    assert found.wire_bytes(8) + found.network_bytes(8) == pytest.approx(15 / 16 * 640)
    assert found.network_bytes(8) == 8 / 16 * 640
    # All in one host.
    assert one("f32[9]{0} all-gather(%x), replica_groups=[2,8]<=[16]", 16).network_bytes(8) == 0
    assert one("f32[9]{0} all-gather(%x), replica_groups=[8,2]<=[2,8]T(1,0)", 16).wire_bytes(8) == 0


SCAN = """
import sys
from functools import partial
import jax, jax.numpy as jnp
from jax.sharding import PartitionSpec as P
sys.path.insert(0, "benchmarks")
from dlresearch.training.aot.collectives import collectives

mesh = jax.make_mesh((8,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))

@jax.jit
@partial(jax.shard_map, mesh=mesh, in_specs=P("x"), out_specs=P("x"))
def five_sums(rows):
    add = lambda rows, _: (jnp.tanh(rows + jax.lax.psum(rows, "x")), None)
    return jax.lax.scan(add, rows, length=5)[0]

text = five_sums.lower(jax.ShapeDtypeStruct((80, 3), jnp.float32)).compile().as_text()
(found,) = collectives(text, 8)
print(found.kind, found.times, found.wire_bytes())
"""


@pytest.mark.slow
def test_a_sum_in_a_scan_of_five_is_five_sums():
    done = subprocess.run(
        [sys.executable, "-c", SCAN],
        cwd=ROOT,
        env=environment(8),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert f"all-reduce 5 {5 * 2 * 7 / 8 * 4 * 10 * 3}" in done.stdout
