"""What is said about memory holds: of the compiled step, and of the process."""

import subprocess
import sys
from pathlib import Path

import jax
import pytest

from dlresearch.config import validate
from dlresearch.training import Setup
from dlresearch.training.call import jit_call
from dlresearch.training.memory import estimated_bytes
from helpers.training.small_runs import classification_config

MIB = 2**20


@pytest.mark.parametrize("steps", [1, 3])
def test_the_new_state_takes_the_place_of_the_old_one(steps):
    setup = Setup(validate(classification_config()))
    feed = setup.make_feed()
    feed.start(0)
    state, taken = setup.initial_state(feed), feed.take(steps)
    call = jit_call(setup.step, feed.pick, steps, setup.abstract_state)
    compiled = call.trace(state, feed.resident, taken).lower().compile()
    memory = compiled.memory_analysis()
    of_state, of_others = (
        sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
        for tree in (state, (feed.resident, taken))
    )
    assert memory.alias_size_in_bytes >= of_state
    # Beside it only a copy of the recorded sums and the table of results are made.
    assert memory.output_size_in_bytes - memory.alias_size_in_bytes < 1000
    expected = of_state + of_others + memory.temp_size_in_bytes
    assert estimated_bytes(compiled) == pytest.approx(expected, abs=1000)
    leaves = jax.tree.leaves(state)
    compiled(state, feed.resident, taken)
    assert all(leaf.is_deleted() for leaf in leaves)
    feed.close()


GROWTH = """
import numpy as np
from dlresearch.training.memory import with_peak

for size in (256, 64):  # MiB; the smaller one last: the peak of the first is forgotten
    print(*with_peak(lambda: int(np.ones(size * 2**20, np.uint8).sum()))[:2])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel does not tell")
def test_growth_of_the_process_is_measured_for_each_call_anew():
    """In a process that has done nothing else, whose memory could be used again."""
    command = [sys.executable, "-c", GROWTH]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for size, line in zip((256, 64), done.stdout.splitlines(), strict=True):
        total, grown = map(int, line.split())
        assert total == size * MIB
        assert 0.9 * size < grown / MIB < 1.5 * size
