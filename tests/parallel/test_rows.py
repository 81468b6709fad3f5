"""Rows that are drawn are split over the devices as those that are read."""

import jax
import jax.numpy as jnp
import numpy as np

from dlresearch.parallel import batch_sharding, make_mesh, on_mesh, split_rows


def double(key):
    return split_rows(jax.random.normal(key, (8, 3))) * 2


def test_rows_lie_like_those_of_a_batch_and_are_the_same():
    mesh = make_mesh()
    split = jax.jit(on_mesh(mesh, double))(jax.random.key(0))
    assert split.sharding.is_equivalent_to(batch_sharding(mesh), 2)
    np.testing.assert_array_equal(split, 2 * jax.random.normal(jax.random.key(0), (8, 3)))


def test_without_a_mesh_they_are_left_as_they_are():
    assert "sharding" not in str(jax.make_jaxpr(double)(jax.random.key(0)))


def test_the_mesh_is_forgotten_behind_the_call():
    on_mesh(make_mesh(), double)(jax.random.key(0))
    assert "sharding" not in str(jax.make_jaxpr(lambda x: split_rows(x))(jnp.ones((8, 2))))
