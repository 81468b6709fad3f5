"""Whatever happens to one of several processes, all of them come to a clear end, or recover.

The scenarios, and how long each takes, are those of `benchmarks/faults.py`.
"""

import re
import subprocess

import pytest

from faults import HEARTBEAT, SCENARIOS, STALL

pytestmark = pytest.mark.cluster

# For a loaded machine; on an idle one all but the heartbeat and the stall take below 5 s.
_ALLOWANCE = 20.0

# Statuses (None: any but success), what is said, whether the run then resumes, seconds by design.
EXPECTED = {
    "a worker is killed": ([1, -9, 1], "process 1 of 3 .* is gone: killed", None, 0),
    "the coordinator is killed": ([-9, None, None], "coordinator", None, 0),
    "a worker freezes": ([None, -9, None], "stopped sending heartbeats", None, HEARTBEAT),
    "an exception in one process": ([1] * 3, "process 1 of 3 .*: ZeroDivisionError", None, 0),
    # By itself or by the others, whoever is first.
    "a hang in one process": (
        [1] * 3,
        "no progress for 5 s.*process 1 of 3|process 1 of 3 .*: no progress for 5 s",
        None,
        STALL,
    ),
    "SIGTERM to one process": ([75] * 3, "SIGTERM to process 2 of 3", True, 0),
    "SIGUSR1 to the coordinator": ([75] * 3, "SIGUSR1 to process 0 of 3", True, 0),
    "a full disk while saving": ([1] * 2, "could not be saved .* step 20 is whole", True, 0),
    "the network between two hosts is cut": ([None] * 2, "heartbeats|gone", None, HEARTBEAT),
}


def test_every_scenario_is_tested():
    assert set(EXPECTED) == set(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_all_processes_come_to_a_clear_end(name, tmp_path):
    statuses, said, resumed, seconds = EXPECTED[name]
    try:
        outcome = SCENARIOS[name](tmp_path)
    except (PermissionError, FileNotFoundError, subprocess.CalledProcessError) as error:
        if name not in ("a full disk while saving", "the network between two hosts is cut"):
            raise
        pytest.skip(f"needs the right to mount a tmpfs or to make network namespaces: {error}")
    for actual, expected in zip(outcome.statuses, statuses, strict=True):
        assert actual == expected if expected is not None else actual != 0, outcome
    assert re.search(said, outcome.said), outcome
    assert outcome.resumed == resumed, outcome
    assert outcome.seconds < seconds + _ALLOWANCE, outcome
