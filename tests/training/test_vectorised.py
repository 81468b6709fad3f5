"""Runs made together are those that would have been made one by one."""

import json
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlresearch import preemption
from dlresearch.config import component, validate
from dlresearch.errors import UserError
from dlresearch.tasks import Classification, MakeModel
from dlresearch.training import open_workdir
from dlresearch.training.records import read_records
from dlresearch.training.vectorised import RunOf, Together, train_together
from dlresearch.training.workdir import read_json
from helpers.processes import start_python
from helpers.training.small_runs import (
    assert_same_curve,
    classification_config,
    dcgan_config,
    final_state,
    run,
    translation_config,
    write_config,
)
from helpers.verbs import call

# Some float32 roundings, which a batched product and other sums make in another order, after a
# dozen steps of SGD. Adam would take parameters with no gradient but rounding as far as others.
ROUNDING = 1e-5


def together(*runs: tuple) -> None:
    """Make the runs of (config, folder)."""
    preemption.reset()
    train_together([RunOf(validate(config), open_workdir(str(folder))) for config, folder in runs])


def changed(config, **settings):
    """A copy with other settings, such as `optimizer__learning_rate=1e-3`."""
    copy = config.copy_and_resolve_references()
    with copy.unlocked():
        for path, value in settings.items():
            node, (*sections, last) = copy, path.split("__")
            for section in sections:
                node = node[section]
            node[last] = value
    return copy


def short(config):
    """A dozen steps of SGD."""
    settings = {"duration": "12 steps", "log__tensorboard": False, "optimizer__name": "sgd"}
    return changed(config, optimizer__learning_rate=0.03, **settings)


def small(**settings):
    """A dense network, which compiles fast, with dropout, augmentation and an average."""
    config = short(classification_config())
    model = component("mlp", hidden=(16,), norm="batch", dropout=0.2)
    config = changed(config, model=model, accumulate=1, evaluators__test__every="6 steps")
    return changed(config, **settings)


# Numbers that the program has as they are written, and such as follow from them.
DIFFERENT = {
    "first": small(seed=3),
    "seed": small(seed=4),
    "rate": small(seed=3, optimizer__learning_rate=0.01, optimizer__momentum=0.8),
    "average": small(seed=3, average__decay=0.5),
    "loss": small(task=component("classification", label_smoothing=0.2)),
}
DIVERGING = small(optimizer__learning_rate=1e38)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a folder for each of the runs `DIFFERENT`, and one that diverges, made together."""
    path = tmp_path_factory.mktemp("together")
    runs = {**DIFFERENT, "diverging": DIVERGING}
    together(*((config, path / name) for name, config in runs.items()))
    return path


def assert_same(config, folder: Path, alone: Path) -> None:
    """Records and the last state are those of the run alone, up to rounding."""
    run(config, alone)
    assert_same_curve(alone, folder, ROUNDING)
    expected, actual = final_state(alone), final_state(folder)
    assert expected.keys() == actual.keys()
    for path, values in expected.items():
        scale = np.max(np.abs(values), initial=1.0)
        np.testing.assert_allclose(actual[path], values, atol=ROUNDING * scale, err_msg=path)


@pytest.mark.slow
@pytest.mark.parametrize("name", DIFFERENT)
def test_each_is_the_run_of_its_own(name, folder, tmp_path):
    assert_same(DIFFERENT[name], folder / name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("make", [classification_config, dcgan_config])
def test_so_are_convolutions_and_several_players(make, tmp_path):
    config = changed(short(make()), duration="6 steps")
    runs = {seed: changed(config, seed=seed) for seed in (1, 2)}
    together(*((each, tmp_path / f"{seed}") for seed, each in runs.items()))
    assert_same(runs[2], tmp_path / "2", tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"data__placement": "streamed"}, {"steps_per_call": 3}])
def test_streamed_and_several_steps_a_call_are_the_same(settings, folder, tmp_path):
    runs = [changed(DIFFERENT[name], **settings) for name in ("first", "seed")]
    together((runs[0], tmp_path / "first"), (runs[1], tmp_path / "seed"))
    for name in ("first", "seed"):
        assert_same_curve(folder / name, tmp_path / name, ROUNDING)


def test_examples_are_in_memory_once():
    feeds = Together([validate(small(seed=seed)) for seed in (0, 1)]).feeds
    assert feeds[0].resident and feeds[0].resident is feeds[1].resident


def test_one_that_diverges_is_recorded_and_ends_no_other(folder):
    result = read_json(folder / "diverging/result.json")
    assert result["status"] == "diverged" and result["step"] == 5
    assert not (folder / "diverging/checkpoints").exists()
    assert read_json(folder / "first/result.json")["status"] == "completed"


def test_a_folder_says_how_many_shared_its_time(folder):
    for file in ("result.json", "environment.json"):
        assert read_json(folder / "seed" / file)["vectorised_runs"] == len(DIFFERENT) + 1


def test_other_verbs_take_the_folder_for_a_run(folder):
    answer = call("evaluate", f"--workdir={folder / 'loss'}")
    assert answer.status == 0, answer.err
    again = read_json(folder / "loss/artifacts/evaluation-12.json")["metrics"]
    metrics = read_json(folder / "loss/result.json")["metrics"]
    assert again == {name: metrics[name] for name in again}
    assert call("report", f"--workdir={folder / 'loss'}").status == 0


# --- the verb -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    return write_config(small(), tmp_path_factory.mktemp("config") / "config.json")


def points_file(folder: Path, *overrides: list) -> Path:
    """A sweep of runs with these overrides, in folders with a number."""
    folder.mkdir(exist_ok=True, parents=True)
    entries = [
        {"folder": str(folder / str(number)), "overrides": own}
        for number, own in enumerate(overrides)
    ]
    (folder / "points.json").write_text(json.dumps(entries))
    return folder / "points.json"


def sweep(config_file: Path, folder: Path, *flags: str):
    files = f"--workdir={folder}", f"--points={folder / 'points.json'}"
    return call("train_vectorised", f"--config={config_file}", *files, *flags)


@pytest.mark.slow
def test_a_sweep_started_again_makes_what_is_missing(config_file, tmp_path):
    points_file(tmp_path, [["seed", "1"]], [["seed", "2"], ["optimizer.learning_rate", "1e38"]])
    first = sweep(config_file, tmp_path, "--config.average.decay=0.8")
    assert first.status == 1, first.err
    assert read_json(tmp_path / "0/config.json")["average"]["decay"] == 0.8
    made = (tmp_path / "0/result.json").stat().st_mtime_ns
    points_file(tmp_path, [["seed", "1"]], [["seed", "2"]])
    second = sweep(config_file, tmp_path, "--config.average.decay=0.8")
    assert second.status == 0 and "1 of 2 runs are complete already" in second.out, second
    assert (tmp_path / "0/result.json").stat().st_mtime_ns == made
    assert read_json(tmp_path / "1/result.json")["vectorised_runs"] == 1
    third = sweep(config_file, tmp_path, "--config.average.decay=0.8")
    assert third.status == 0 and "compiling" not in third.out, third


@pytest.mark.slow
def test_one_that_is_told_to_stop_starts_anew(config_file, tmp_path):
    points_file(tmp_path, [["seed", "1"]], [["seed", "2"]])
    flags = (f"--config={config_file}", f"--workdir={tmp_path}")
    points = f"--points={tmp_path / 'points.json'}"
    long = "--config.duration=100000", "--config.log.every=10", "--config.evaluators={}"
    process = start_python("-m", "dlresearch.train_vectorised", *flags, points, *long)
    records, until = tmp_path / "1/metrics.jsonl", time.monotonic() + 200
    while not (records.exists() and records.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 75, said
    assert read_json(tmp_path / "0/result.json")["status"] == "resume"
    assert sweep(config_file, tmp_path).status == 0
    assert sorted(read_records(records)) == [5, 6, 10, 12]


OF_ITS_OWN = {
    "config.model.hidden": {"model__hidden": (8,)},
    "config.batch_size": {"batch_size": 16},
    "config.duration": {"duration": "6 steps"},
    "config.optimizer.name": {"optimizer__name": "adam"},
    "config.optimizer.clip_norm": {"seed": 1, "optimizer__clip_norm": 1.0},
    "config.optimizer.weight_decay": {"optimizer__weight_decay": 0.1},
    "config.data.augmentations.0.name": {"data__augmentations": (component("flip"),)},
    "config.task.focal_gamma": {"task": component("classification", focal_gamma=2.0)},
}


@pytest.mark.parametrize("path", OF_ITS_OWN)
def test_what_needs_a_run_of_its_own_is_refused(path, tmp_path):
    configs = small(), small(seed=4), small(**OF_ITS_OWN[path])
    with pytest.raises(UserError, match=f"^{path}.*runs of their own$"):
        together(*((config, tmp_path / str(number)) for number, config in enumerate(configs)))
    assert not (tmp_path / "0/config.json").exists()


def test_batches_of_a_width_that_the_seed_decides_are_refused():
    runs = [validate(changed(translation_config(), seed=seed)) for seed in (1, 2)]
    with pytest.raises(UserError, match=r"^config\.data\.buckets: .*runs of their own$"):
        Together(runs)


BAD_POINTS = {
    "[": "is not JSON",
    "[]": "must be a list of runs",
    '{"folder": "a"}': "must be a list of runs",
    "[3]": "run 0: 3 is no object",
    '[{"folder": "a", "override": []}]': "did you mean 'overrides'?",
    '[{"overrides": []}]': "run 0: folder must be the path",
    '[{"folder": "a", "overrides": {"seed": 1}}]': "run 0: overrides must be pairs of texts",
    '[{"folder": "a", "overrides": [["seed", 1]]}]': "run 0: overrides must be pairs of texts",
    '[{"folder": "a"}, {"folder": "a"}]': "run 1: a is the folder of another one",
    '[{"folder": "a", "overrides": [["sed", "1"]]}]': "config.sed: there is no such setting; did",
    '[{"folder": "a", "overrides": [["seed", "x"]]}]': "run 0: config.seed: ",
}


@pytest.mark.parametrize("text", BAD_POINTS)
def test_mistakes_in_the_points_get_one_line(text, config_file, tmp_path):
    (tmp_path / "points.json").write_text(text)
    sweep(config_file, tmp_path).assert_mistake(BAD_POINTS[text])


def test_missing_flags_get_one_line(config_file, tmp_path):
    answer = call("train_vectorised", f"--workdir={tmp_path}", f"--config={config_file}")
    answer.assert_mistake("--points=FILE is missing")
    answer = call("train_vectorised", f"--workdir={tmp_path}", f"--points={tmp_path / 'no'}")
    answer.assert_mistake("--config=FILE is missing")
    files = f"--workdir={tmp_path}", f"--config={config_file}"
    answer = call("train_vectorised", *files, f"--points={tmp_path / 'no'}")
    answer.assert_mistake("--points=", "No such file")


def test_runs_of_others_are_left_alone(folder, tmp_path):
    run(changed(small(), duration="6 steps"), tmp_path / "begun")
    (tmp_path / "begun/result.json").unlink()
    mistake = "holds checkpoints of a run that `dlresearch train` began"
    with pytest.raises(UserError, match=mistake):
        RunOf(
            validate(changed(small(), duration="6 steps")), open_workdir(str(tmp_path / "begun"))
        ).is_complete()
    with pytest.raises(UserError, match="other settings"):
        RunOf(validate(small(seed=9)), open_workdir(str(folder / "first"))).is_complete()


class Tempered(Classification):
    """Divides its logits by a temperature, in predictions only."""

    def __init__(
        self, make_model: MakeModel, metadata: Mapping[str, Any], temperature: float = 1.0
    ):
        super().__init__(make_model, metadata)
        self.temperature = temperature

    def predict(self, variables, batch):
        return super().predict(variables, batch) / self.temperature


@pytest.mark.slow
def test_each_is_evaluated_with_the_numbers_of_its_own_task(tmp_path):
    runs = {
        name: small(
            task=component(f"{__name__}:Tempered", temperature=temperature),
            duration="1 steps",
            evaluators__test__every="1 steps",
        )
        for name, temperature in {"as it is": 1.0, "flat": 1e9}.items()
    }
    together(*((config, tmp_path / name) for name, config in runs.items()))
    losses = {
        name: read_records(tmp_path / name / "metrics.jsonl")[1]["test/loss"] for name in runs
    }
    assert losses["flat"] == pytest.approx(np.log(10), rel=1e-6)  # all ten digits are as likely
    assert losses["as it is"] != pytest.approx(np.log(10), rel=1e-3)
