"""Meshes, and which rows of a batch are whose."""

import jax
import pytest

from dlresearch.errors import UserError
from dlresearch.parallel import make_mesh, process_rows
from helpers.parallel.meshes import check_eight_devices
from helpers.processes import on_eight_devices


def test_eight_devices_are_arranged_and_share_a_batch():
    on_eight_devices(check_eight_devices)


def test_one_device_takes_the_whole_batch():
    if jax.device_count() > 1:
        pytest.skip("for one device")
    assert process_rows(make_mesh(), 5).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(UserError, match=r"config\.mesh"):
        make_mesh(data=2)
