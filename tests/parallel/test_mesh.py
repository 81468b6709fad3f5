"""Meshes, and which rows of a batch are whose; eight devices in a process of their own."""

import subprocess
import sys

import jax
import pytest
from helpers.processes import ROOT, environment

from dlresearch.errors import UserError
from dlresearch.parallel import make_mesh, process_rows

EIGHT = """
import jax, numpy as np
from dlresearch.errors import UserError
from dlresearch.parallel import batch_shards, check_batch_size, make_mesh, process_rows, put_batch
for sizes, shape in {(-1, 1, 1): (8, 1, 1), (2, -1, 2): (2, 2, 2), (1, 8, 1): (1, 8, 1)}.items():
    mesh = make_mesh(*sizes)
    assert tuple(mesh.shape.values()) == shape, (sizes, mesh.shape)
    np.testing.assert_array_equal(process_rows(mesh, 16), np.arange(16))
    rows = put_batch(mesh, {"x": np.arange(16.0)})["x"]
    np.testing.assert_array_equal(rows, np.arange(16.0))
    assert rows.addressable_shards[0].data.shape == (16 // batch_shards(mesh),)
too_few = lambda: check_batch_size(make_mesh(), 12)
wrong_ones = [lambda: make_mesh(3), lambda: make_mesh(-1, -1), too_few]
for wrong in wrong_ones:
    try:
        wrong()
    except UserError as mistake:
        print(mistake)
    else:
        raise AssertionError("no error")
"""


def test_eight_devices_are_arranged_and_share_a_batch():
    outcome = subprocess.run(
        [sys.executable, "-c", EIGHT],
        env=environment(devices=8),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    mesh, inferred, batch = outcome.stdout.splitlines()
    assert "does not arrange the 8 devices" in mesh
    assert "only one of data, fsdp can be -1" in inferred
    assert "12 does not divide by the 8 devices" in batch
    assert "use 8 or 16" in batch


def test_one_device_takes_the_whole_batch():
    if jax.device_count() > 1:
        pytest.skip("for one device")
    assert process_rows(make_mesh(), 5).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match=r"config\.mesh"):
        make_mesh(data=2)
