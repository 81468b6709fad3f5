"""One run of several processes is the run of one: examples, curve, evaluation, checkpoints."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from dlresearch.config import component
from dlresearch.data import TrainingOrder
from dlresearch.training.records import read_records
from helpers.processes import assert_complete
from helpers.training.small_runs import (
    assert_same_curve,
    classification_config,
    copy_without_checkpoint,
    dcgan_config,
    language_model_config,
    moco_config,
    run,
    start_processes,
    write_config,
)

pytestmark = pytest.mark.cluster

STEPS, HALF, BATCH = 12, 6, 32
AHEAD = 8  # batches that may have been read when the last step ends
TRAINING_EXAMPLES, TEST_EXAMPLES = 1438, 359
TOLERANCE = 2e-6  # of the largest value of a metric, as in test_meshes.py; measured: 2.4e-7

# Processes, devices of each, and the mesh over all of them.
LAYOUTS = {
    "two": (2, 1, {"fsdp": 2}),
    "four": (4, 1, {"data": 4}),
    "two with two devices": (2, 2, {"fsdp": 2, "tensor": 2}),
}
ORDER = TrainingOrder(TRAINING_EXAMPLES, 0, BATCH)


def config_on(**mesh: int) -> ConfigDict:
    """Batch norm, over examples that are streamed; none is seen twice, so each read can be told."""
    config = classification_config()
    config.duration = f"{STEPS} steps"
    config.batch_size = BATCH
    config.accumulate = 1
    config.task.name = "helpers.training.toy_tasks:NumberedClassification"
    config.model = component("mlp", hidden=(16,), norm="batch", dropout=0.1)
    config.data.source = component("helpers.training.toy_sources:Numbered", split="train")
    config.data.placement = "streamed"
    config.optimizer.update(name="sgd", learning_rate=0.1)
    config.evaluators.test.update(
        source=component("helpers.training.toy_sources:Numbered", split="test"),
        every=f"{HALF} steps",
        batch_size=96,  # four batches, the last of them filled up
    )
    config.checkpoint.every = f"{HALF} steps"
    config.log.every = "1 steps"
    config.mesh.update(mesh, fsdp_min_size=100)
    return config


def run_together(layout: tuple[int, int, dict[str, int]], folder: Path) -> None:
    processes, devices, mesh = layout
    path = write_config(config_on(**mesh), folder.with_suffix(".json"))
    flags = ("--heartbeat_timeout=20",)
    assert_complete(*start_processes(path, folder, processes, devices, flags))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with the folders of all runs: `one`, in this process, and those of `LAYOUTS`. Beside
    each, in `asked NAME`, is what each process read."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("one", *LAYOUTS):
            (folder / f"asked {name}").mkdir()
            patch.setenv("TOY_ASKED", str(folder / f"asked {name}"))
            if name == "one":
                run(config_on(), folder / "one")
            else:
                run_together(LAYOUTS[name], folder / name)
    return folder


def asked(runs: Path, name: str, split: str) -> list[list[int]]:
    """What each process read, in its order."""
    files = sorted((runs / f"asked {name}").glob(f"{split}-*"))
    return [[int(line) for line in file.read_text().split()] for file in files]


@pytest.mark.parametrize("name", ["one", *LAYOUTS])
def test_every_step_has_the_same_examples_in_the_same_rows(runs, name):
    records = read_records(runs / name / "metrics.jsonl")
    assert list(records) == list(range(1, STEPS + 1))
    for step, metrics in records.items():
        numbers = ORDER.indices(step - 1)
        assert metrics["train/number"] == np.mean(numbers), step
        assert metrics["train/number_times_row"] == np.mean(numbers * np.arange(BATCH)), step


@pytest.mark.parametrize("name", LAYOUTS)
def test_processes_draw_the_curve_of_one(runs, name):
    assert_same_curve(runs / "one", runs / name, TOLERANCE)


@pytest.mark.parametrize("name", ["one", *LAYOUTS])
def test_every_process_reads_its_share_of_every_batch(runs, name):
    read = asked(runs, name, "train")
    assert len(read) == (1 if name == "one" else LAYOUTS[name][0])
    share = BATCH // len(read)
    shown = set(range(8))  # the first of them are read before, to learn what an example looks like
    for process, numbers in enumerate(read):
        counts = Counter(number for number in numbers if number not in shown)
        assert set(counts.values()) == {1}
        rows = slice(process * share, (process + 1) * share)
        steps = [set(ORDER.indices(step)[rows].tolist()) - shown for step in range(STEPS + AHEAD)]
        assert set.union(*steps[:STEPS]) <= set(counts) <= set.union(*steps)


@pytest.mark.parametrize("name", ["one", *LAYOUTS])
def test_every_example_counts_once_in_evaluation(runs, name):
    records = read_records(runs / name / "metrics.jsonl")
    counts = [each["test/examples"] for each in records.values() if "test/examples" in each]
    assert counts == [TEST_EXAMPLES] * 2
    read = Counter(number for each in asked(runs, name, "test") for number in each)
    filled = 2 * (-TEST_EXAMPLES % 96)  # with the last example
    assert read == {n: 2 for n in range(TEST_EXAMPLES - 1)} | {TEST_EXAMPLES - 1: 2 + filled}


@pytest.mark.parametrize("processes", [1, 4])
def test_a_checkpoint_of_two_processes_resumes_on(runs, tmp_path, monkeypatch, processes):
    monkeypatch.setenv("TOY_ASKED", str(tmp_path))
    copy_without_checkpoint(runs / "two", tmp_path / "run", STEPS)
    if processes == 1:
        run(config_on(), tmp_path / "run")
    else:
        run_together((processes, 1, {"fsdp": processes}), tmp_path / "run")
    assert_same_curve(runs / "one", tmp_path / "run", TOLERANCE)


def test_two_processes_carry_a_text_on_as_one_does(tmp_path):
    """Each reads the windows of its streams, and what is carried belongs to all of them."""
    config = language_model_config()
    config.data.placement = "streamed"
    config.optimizer.update(name="sgd", learning_rate=1.0)
    config.duration = f"{2 * HALF + 8} steps"  # over the end of an epoch
    assert run(config, tmp_path / "one").status == "completed"
    config.mesh.data = 2
    path = write_config(config, tmp_path / "two.json")
    assert_complete(*start_processes(path, tmp_path / "two", 2, 1, ("--heartbeat_timeout=20",)))
    assert_same_curve(tmp_path / "one", tmp_path / "two", TOLERANCE)


def test_two_processes_train_a_gan_as_one_does(tmp_path):
    """Latents are drawn by whoever has their rows, and pictures are made by both together."""
    config = dcgan_config()
    config.data.placement = "streamed"
    config.optimizer.update(name="sgd", learning_rate=0.05)
    config.duration = f"{HALF} steps"
    config.evaluators.pictures = dict(
        name="samples", source=component("digits", split="test"), columns=3, scale=1, batch_size=8
    )
    assert run(config, tmp_path / "one").status == "completed"
    config.mesh.data = 2
    path = write_config(config, tmp_path / "two.json")
    assert_complete(*start_processes(path, tmp_path / "two", 2, 1, ("--heartbeat_timeout=20",)))
    assert_same_curve(tmp_path / "one", tmp_path / "two", TOLERANCE)
    grids = [
        np.asarray(Image.open(tmp_path / run / f"artifacts/pictures/{HALF}/grid.png"), np.int32)
        for run in ("one", "two")
    ]
    # A value on the edge between two levels may be rounded to either.
    assert abs(grids[0] - grids[1]).max() <= 1


def test_two_processes_learn_without_labels_as_one_does(tmp_path):
    """Each has the queue of the codes of both, and the features of all neighbours."""
    config = moco_config()
    config.data.placement = "streamed"
    config.optimizer.update(name="sgd", learning_rate=0.05)
    config.optimizer.groups.probe = component("sgd", parameters=("probe/.*",), learning_rate=0.1)
    config.duration = f"{HALF} steps"
    shared = dict(source=component("digits", split="test"), batch_size=96, every=f"{HALF} steps")
    config.evaluators.test.update(shared)
    config.evaluators.knn = dict(shared, name="knn", train=component("digits", split="train"), k=5)
    config.evaluators.features = dict(shared, name="features")
    assert run(config, tmp_path / "one").status == "completed"
    config.mesh.data = 2
    path = write_config(config, tmp_path / "two.json")
    assert_complete(*start_processes(path, tmp_path / "two", 2, 1, ("--heartbeat_timeout=20",)))
    assert_same_curve(tmp_path / "one", tmp_path / "two", TOLERANCE)
    one, two = (
        np.load(tmp_path / run / f"artifacts/features/{HALF}/features.npz")
        for run in ("one", "two")
    )
    assert len(one["features"]) == TEST_EXAMPLES
    np.testing.assert_allclose(two["features"], one["features"], rtol=1e-4, atol=1e-5)
