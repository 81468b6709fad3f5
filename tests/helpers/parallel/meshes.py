"""Arrangements of eight devices, and the rows of a batch that each has."""

import jax
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.parallel import batch_shards, check_batch_size, make_mesh, process_rows, put_batch


def check_eight_devices() -> None:
    """Raise an error where a mesh, or a mistake in one, is not what it is to be."""
    assert jax.device_count() == 8
    for sizes, shape in {
        (-1, 1, 1): (8, 1, 1),
        (2, -1, 2): (2, 2, 2),
        (1, 8, 1): (1, 8, 1),
    }.items():
        mesh = make_mesh(*sizes)
        assert tuple(mesh.shape.values()) == shape
        np.testing.assert_array_equal(process_rows(mesh, 16), np.arange(16))
        rows = put_batch(mesh, {"x": np.arange(16.0)})["x"]
        np.testing.assert_array_equal(rows, np.arange(16.0))
        assert rows.addressable_shards[0].data.shape == (16 // batch_shards(mesh),)
    with pytest.raises(UserError, match="does not arrange the 8 devices"):
        make_mesh(3)
    with pytest.raises(UserError, match="only one of data, fsdp can be -1"):
        make_mesh(-1, -1)
    with pytest.raises(UserError, match=r"12 does not divide by the 8 devices.*use 8 or 16"):
        check_batch_size(make_mesh(), 12)
