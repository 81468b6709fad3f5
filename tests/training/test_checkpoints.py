"""What is on the disk is what was saved, or the run says so and goes on from what is."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlresearch.errors import UserError
from dlresearch.training.checkpoints import Checkpoints, DamagedCheckpoint
from helpers.training.damage import data_files, flip_bits
from helpers.training.small_runs import classification_config, final_state, run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    config = classification_config()
    folder = tmp_path_factory.mktemp("finished")
    run(config, folder)
    return config, folder


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_the_arrays(step: Path) -> Path:
    return max(data_files(step), key=lambda path: path.stat().st_size)


def of_the_description(step: Path) -> Path:
    return max(files(step / "description"), key=lambda path: path.stat().st_size)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [truncate, Path.unlink, flip_bits])
@pytest.mark.parametrize("choose", [of_the_arrays, of_the_description])
def test_damaged_newest_checkpoint_is_reported_and_the_one_before_is_used(
    finished, tmp_path, capsys, damage, choose
):
    config, folder = finished
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    damage(choose(copy / "checkpoints/24"))
    assert run(config, copy).status == "completed"
    printed = capsys.readouterr().out
    assert "checkpoint 24 is damaged" in printed
    assert "resuming from step 18" in printed
    expected, actual = final_state(folder), final_state(copy)
    assert all(np.array_equal(expected[path], actual[path]) for path in expected)
    assert (copy / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()
    assert (copy / "checkpoints/damaged/24-0").is_dir()


def test_when_all_are_damaged_nothing_is_overwritten(finished, tmp_path):
    config, folder = finished
    shutil.copytree(folder, tmp_path / "run")
    for step in (tmp_path / "run/checkpoints").glob("[0-9]*"):
        truncate(of_the_arrays(step))
    with pytest.raises(UserError, match="all 2 checkpoints are damaged"):
        run(config, tmp_path / "run")
    assert len(list((tmp_path / "run/checkpoints/damaged").iterdir())) == 2


TREE = {
    "a": np.linspace(0, 1, 1000, dtype=np.float32).reshape(10, 100),
    "b": {"c": np.arange(7, dtype=np.int32), "half": jnp.ones((3, 5), jnp.bfloat16)},
    "flag": np.array([True, False]),
}


def abstract(tree):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


def test_every_array_comes_back_as_it_was(tmp_path):
    tree = jax.tree.map(jnp.asarray, TREE)
    checkpoints = Checkpoints(tmp_path, lambda step: None)
    checkpoints.save(3, tree, {"seconds": 1.5})
    checkpoints.wait()
    restored = checkpoints.restore(abstract(tree), 3)
    assert restored.facts == {"seconds": 1.5}
    jax.tree.map(np.testing.assert_array_equal, restored.state, tree)


def test_newest_two_and_the_best_are_kept(tmp_path):
    scores = {1: 0.1, 2: 0.9, 3: 0.2, 4: None, 5: 0.3, 6: None}
    checkpoints = Checkpoints(tmp_path, scores.get)
    for step in scores:
        checkpoints.save(step, {"a": jnp.ones(3)}, {})
        checkpoints.wait()
    assert checkpoints.steps() == [2, 5, 6]
    assert checkpoints.best_step() == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tree: {**tree, "a": jnp.ones((10, 99))},
            r"a is float32\[10, 100\] in it and float",
        ),
        (lambda tree: {**tree, "a": tree["a"].astype(jnp.bfloat16)}, "a is float32.*bfloat16"),
        (lambda tree: {**tree, "new": jnp.ones(2)}, "new is nothing in it"),
        (lambda tree: {"a": tree["a"]}, "b/c is int32.* and nothing here"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path, change, message):
    tree = jax.tree.map(jnp.asarray, TREE)
    checkpoints = Checkpoints(tmp_path, lambda step: None)
    checkpoints.save(1, tree, {})
    checkpoints.wait()
    with pytest.raises(UserError, match=message):
        checkpoints.restore_newest(abstract(change(tree)))
    assert checkpoints.steps() == [1]  # whole, so it stays


def test_any_single_flipped_bit_of_an_array_changes_its_checksum(tmp_path):
    """Each bit of some words, so that a weak checksum would be caught; no file format in
    between.
    """
    from dlresearch.training.checksums import array_checksum

    words = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    plain = int(array_checksum(jnp.asarray(words)))
    for index in np.ndindex(words.shape):
        for bit in range(32):
            flipped = words.copy()
            flipped.view(np.uint32)[index] ^= np.uint32(1 << bit)
            assert int(array_checksum(jnp.asarray(flipped))) != plain


def test_a_step_without_its_files_is_damaged_not_a_bug(tmp_path):
    checkpoints = Checkpoints(tmp_path, lambda step: None)
    checkpoints.save(1, {"a": jnp.ones(3)}, {})
    checkpoints.wait()
    shutil.rmtree(tmp_path / "1/state")
    with pytest.raises(DamagedCheckpoint):
        checkpoints.restore(abstract({"a": jnp.ones(3)}), 1)
