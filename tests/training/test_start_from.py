"""A run begins with what another run or a file has, says what that was, and never mixes things up.

Names and layouts of PyTorch are in test_torch_weights.py.
"""

import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from dlresearch.config import component, validate
from dlresearch.errors import UserError
from dlresearch.tasks import Variables
from dlresearch.training import Setup
from dlresearch.training.arrays import parameters_and_state
from dlresearch.training.checkpoints import Checkpoints
from helpers.processes import assert_complete
from helpers.training.damage import data_files, flip_bits
from helpers.training.small_runs import (
    assert_same_run,
    classification_config,
    run,
    start,
    start_processes,
    toy_config,
    write_config,
)
from helpers.training.starts import assert_equal, first_variables, network, starting_config
from helpers.verbs import call

HEAD = r"model/Dense_0/.*"


def saved(folder, config, step=24) -> Variables:
    """The variables of a checkpoint of a run with this config."""
    checkpoints = Checkpoints(folder / "checkpoints", lambda step: None, read_only=True)
    return jax.device_get(
        checkpoints.restore(Setup(validate(config)).abstract_state, step).state.variables
    )


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A run of 24 steps that keeps its best checkpoint, and its config."""
    config = classification_config()
    config.checkpoint.best = "test/accuracy"
    folder = tmp_path_factory.mktemp("before")
    run(config, folder)
    return folder, config


@pytest.fixture(scope="module")
def files(before, tmp_path_factory):
    """The parameters and state of the run in files of all kinds, and what is no such file."""
    folder = tmp_path_factory.mktemp("files")
    arrays = parameters_and_state(saved(*before))
    np.savez(folder / "own.npz", **arrays)
    save_file(arrays, folder / "own.safetensors")
    np.savez(folder / "float64.npz", **{k: v.astype(np.float64) for k, v in arrays.items()})
    save_file({k: v.astype(np.float16) for k, v in arrays.items()}, folder / "half.safetensors")
    np.savez(folder / "foreign.npz", **{"layers.0.weight": np.ones(3), "layers.0.bias": np.ones(3)})
    np.savez(folder / "objects.npz", a=np.array([{}]))
    with (folder / "unnamed.npz").open("wb") as file:
        np.save(file, np.ones(3))
    for suffix in ("npz", "safetensors"):
        (folder / f"text.{suffix}").write_text("weights, honestly")
        content = (folder / f"own.{suffix}").read_bytes()
        (folder / f"short.{suffix}").write_bytes(content[: len(content) // 2])
    (folder / "weights.pth").write_bytes(b"")
    (folder / "weights.h5").write_bytes(b"")
    (folder / "empty").mkdir()
    (folder / "unsaved/checkpoints").mkdir(parents=True)
    (folder / "foreign/checkpoints/3").mkdir(parents=True)
    (folder / "foreign/checkpoints/3/data").write_text("of another program")
    return folder


@pytest.mark.slow
def test_a_run_starts_from_the_evaluation_average_of_another_and_so_do_its_own(before):
    average = saved(*before).averages["evaluation"]
    found = first_variables(starting_config(before[0]))
    assert_equal({"params": found.params, "state": found.state}, average)
    assert_equal(found.averages["evaluation"], average)


def test_or_from_what_was_trained(before):
    variables = saved(*before)
    found = first_variables(starting_config(before[0], average=False))
    assert_equal((found.params, found.state), (variables.params, variables.state))
    assert_equal(found.averages["evaluation"]["params"], variables.params)


@pytest.mark.parametrize("where", ["checkpoints", "checkpoints/18", "option"])
def test_a_checkpoint_can_be_chosen(before, where):
    folder, config = before
    step, path, chosen = 18, folder / where, {}
    if where == "checkpoints":
        step = 24
    if where == "option":
        path, chosen = folder, {"checkpoint": "18"}
    expected = parameters_and_state(saved(folder, config, step))
    assert_equal(network(starting_config(path, average=False, **chosen)), expected)


@pytest.mark.slow
def test_the_best_checkpoint_is_that_of_the_other_runs_config(tmp_path):
    """The highest loss is best by the config of the other run; it says so and not the new one."""
    config = classification_config()
    config.duration = 18
    config.evaluators.test.every = 6
    config.checkpoint.update(best="test/loss", best_is="highest")
    run(config, tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["12", "18", "6"]
    expected = parameters_and_state(saved(tmp_path, config, 6))
    assert_equal(network(starting_config(tmp_path, average=False, checkpoint="best")), expected)


@pytest.mark.parametrize("file", ["own.npz", "own.safetensors"])
def test_a_file_of_parameter_paths(before, files, file):
    assert_equal(network(starting_config(files / file)), parameters_and_state(saved(*before)))


@pytest.mark.slow
def test_what_is_skipped_begins_as_in_a_run_from_scratch(before, files):
    scratch = network(classification_config())
    loaded = parameters_and_state(saved(*before))
    found = network(starting_config(files / "own.npz", skip=(HEAD,)))
    assert {path for path in found if "Dense" in path} == {
        "model/Dense_0/kernel",
        "model/Dense_0/bias",
    }
    for path, values in found.items():
        expected = scratch if "Dense" in path else loaded
        np.testing.assert_array_equal(values, expected[path], err_msg=path)


def test_rules_lead_from_names_there_to_paths_here(before, files, tmp_path):
    loaded = parameters_and_state(saved(*before))
    there = {f"net/{path}".replace("/kernel", "/weight"): value for path, value in loaded.items()}
    np.savez(tmp_path / "net.npz", **there)
    rules = ((r"net/(.*)/weight", r"\1/kernel"), (r"net/(.*)", r"\1"))
    assert_equal(network(starting_config(tmp_path / "net.npz", rules=rules)), loaded)


@pytest.mark.slow
def test_rules_lead_from_one_player_to_another(tmp_path):
    """As from a self-supervised encoder to what is trained on it."""
    config = toy_config("MovingTarget")
    config.duration = 6
    run(config, tmp_path)
    before = saved(tmp_path, config, 6)
    swapped = ((r"online/(encoder|predictor)/Dense_1/(.*)", r"online/predictor/Dense_1/\2"),)
    config.start_from.path = str(tmp_path)
    config.start_from.rules = swapped
    with pytest.raises(UserError, match="both online/encoder/Dense_1/bias and online/predictor"):
        first_variables(config)
    config.start_from.rules = ((r"online/encoder/(Dense_1/.*)", r"online/predictor/\1"),)
    config.start_from.skip = (r"online/encoder/Dense_1/.*", r"online/predictor/Dense_0/.*")
    with pytest.raises(UserError, match="both online/encoder/Dense_1/bias and online/predictor"):
        first_variables(config)
    config.start_from.rules = ()
    config.start_from.skip = ()
    found = first_variables(config)
    assert_equal(found.params, before.params)
    assert_equal(found.state, before.state)  # the centre
    # The target of the new run starts from its network, not from the old target.
    assert_equal(found.averages["target"], before.params["online"]["encoder"])


@pytest.mark.slow
def test_a_network_of_another_task_and_the_report_of_it(before, tmp_path, capsys):
    """Part of what is there, into part of what is here; check and train say the same."""
    config = starting_config(before[0], skip=("model/Dense_1/.*",), missing="allow", average=False)
    config.duration = 1
    config.model = component("convnet", widths=(4, 6), convs_per_stage=1, hidden=(5,))
    config.start_from.skip = ("model/Dense_0/.*",)
    run(config, tmp_path / "run")
    report = (tmp_path / "run/artifacts/loaded.txt").read_text()
    sections = dict(part.split("\n", 1) for part in report.split("\n\n")[1:])
    assert set(sections) == {
        "loaded: 5",
        "skipped, begins at random: 1",
        "missing, begins at random: 11",
        "unused: 1",
    }
    assert "  model/Conv_0/kernel  float32[3, 3, 1, 4]\n" in sections["loaded: 5"]
    assert "  model/batch_stats/BatchNorm_0/var  float32[4]" in sections["loaded: 5"]
    assert sections["skipped, begins at random: 1"] == "  model/Dense_0/kernel  float32[6, 5]"
    summary = "step 24: 5 arrays loaded, 1 skipped, 11 missing, 1 unused"
    assert summary in capsys.readouterr().out
    file = write_config(config, tmp_path / "config.json")
    checked = call("check", f"--config={file}")
    assert checked.status == 0, checked
    assert summary in checked.out and "skipped: model/Dense_0/kernel" in checked.out
    assert not (tmp_path / "checkpoints").exists()
    planned = call("check", f"--config={file}", "--devices=4")
    assert summary in planned.out


@pytest.mark.slow
def test_a_resumed_run_does_not_load_again(before, tmp_path):
    shutil.copytree(before[0], tmp_path / "start")
    config = starting_config(tmp_path / "start", skip=(HEAD,))
    run(config, tmp_path / "whole")
    assert run(config, tmp_path / "parts", stop_at=15).status == "resume"
    shutil.rmtree(tmp_path / "start")
    report = tmp_path / "parts/artifacts/loaded.txt"
    report.write_text("of the first execution")
    assert run(config, tmp_path / "parts").status == "completed"
    assert report.read_text() == "of the first execution"
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_frozen_parameters_stay_and_batch_statistics_of_their_layers_go_on(before, tmp_path):
    config = starting_config(before[0], average=False)
    config.duration = 3
    config.average.decay = 0.0
    config.optimizer.freeze = ("(Conv|BatchNorm).*",)
    first = network(config)
    run(config, tmp_path)
    last = parameters_and_state(saved(tmp_path, config, 3))
    moved = {path for path in first if not np.array_equal(first[path], last[path])}
    assert moved == {
        "model/Dense_0/kernel",
        "model/Dense_0/bias",
        "model/batch_stats/BatchNorm_0/mean",
        "model/batch_stats/BatchNorm_0/var",
    }


MISTAKES = {
    "nowhere": ({}, "config.start_from.path: there is no file or folder .*nowhere"),
    "empty": ({}, "config.start_from.path: .*empty is no run, it has no folder `checkpoints`"),
    "unsaved": ({}, "config.start_from.checkpoint=newest: the run holds no finished checkpoint"),
    "foreign": ({}, "config.start_from.path: .*foreign/checkpoints/3 is damaged"),
    "text.npz": ({}, "config.start_from.path: cannot read .*text.npz"),
    "text.safetensors": ({}, "config.start_from.path: cannot read .*text.safetensors"),
    "short.npz": ({}, "config.start_from.path: cannot read .*short.npz"),
    "short.safetensors": ({}, "config.start_from.path: cannot read .*short.safetensors"),
    "objects.npz": ({}, "config.start_from.path: cannot read .*objects.npz: .*allow_pickle"),
    "unnamed.npz": ({}, "unnamed.npz: .*it holds a single array without a name"),
    "weights.pth": ({}, "weights.pth is neither .npz nor .safetensors; in Python with torch: "),
    "weights.h5": ({}, "weights.h5 is neither .npz nor .safetensors$"),
    "foreign.npz": ({}, r"has a place here; there are layers.0.bias, layers.0.weight, and here"),
    "float64.npz": ({}, r"is float64\[4\] in .*float64.npz and float32\[4\] here"),
    "half.safetensors": ({}, r"is float16\[4\] in .*half.safetensors and float32\[4\] here"),
    "rule without a match": (
        {"rules": (("modle/(.*)", r"\1"),)},
        "config.start_from.rules: 'modle/.*' matches no whole parameter path; closest of 7: model/",
    ),
    "rule to nowhere": (
        {"rules": (("model/Conv_0/(.*)", r"model/Cnov_0/\1"),)},
        r"config.start_from.rules.0: it leads to model/Cnov_0/kernel, .*closest: model/Conv_0/kern",
    ),
    "rule with a wrong group": (
        {"rules": (("model/Conv_0/kernel", r"\2"),)},
        r"config.start_from.rules.0: '\\\\2' is no replacement: invalid group reference",
    ),
    "two rules to one place": (
        {"rules": (("model/Dense_0/(kernel|bias)", "model/Dense_0/bias"),)},
        "both model/Dense_0/bias and model/Dense_0/kernel lead to model/Dense_0/bias",
    ),
    "rule that is no pattern": (
        {"rules": (("(", "a"),)},
        "config.start_from.rules.0: '\\(' is no regular expression",
    ),
    "skip without a match": (
        {"skip": ("model/Dense_7/.*",)},
        "config.start_from.skip: 'model/Dense_7/.*' matches no whole parameter path; closest of 7",
    ),
    "everything skipped": ({"skip": (".*",)}, "has a place here"),
    "torchvision": ({"format": "torchvision"}, "format: torchvision is for files"),
    "step": ({"checkpoint": "23"}, "config.start_from.checkpoint=23: there are newest, best and"),
    "file of torchvision": ({"format": "torchvision", "path": "own.npz"}, None),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_place(before, files, case):
    options, message = MISTAKES[case]
    path = before[0] if options or not (files / case).suffix else files / case
    if case in ("nowhere", "empty", "unsaved", "foreign"):
        path = files / case
    options = dict(options)
    if "path" in options:
        path = files / options.pop("path")
    config = starting_config(path, **options)
    if message is None:  # own names are taken as they are, also with this format
        network(config)
        return
    with pytest.raises(UserError, match=message) as error:
        first_variables(config)
    assert "\n" not in str(error.value)


def test_a_head_for_other_classes_is_told_to_be_skipped(before):
    config = starting_config(before[0])
    config.data.source = component("synthetic", image=(8, 8, 1), num_classes=3)
    config.evaluators = {}
    config.model = component("convnet", widths=(4,), convs_per_stage=1)
    message = (
        r"model/Dense_0/bias is float32\[10\] in .* and float32\[3\] here \(and 1 more\); .*"
        r" add 'model/Dense_0/\.\*' to config.start_from.skip"
    )
    with pytest.raises(UserError, match=message):
        first_variables(config)
    config.start_from.skip = (HEAD,)
    assert network(config)["model/Dense_0/bias"].shape == (3,)


def test_what_is_missing_is_an_error_unless_it_is_allowed(before):
    config = starting_config(before[0])
    config.model = component("convnet", widths=(4, 6), convs_per_stage=1)
    config.start_from.skip = (HEAD,)
    missing = (
        r"has no model/BatchNorm_1/bias \(and 4 more\); .*config.start_from.missing to 'allow'"
    )
    with pytest.raises(UserError, match=missing):
        first_variables(config)
    config.start_from.missing = "allow"
    first_variables(config)


def test_a_damaged_checkpoint_is_never_started_from(before, tmp_path):
    shutil.copytree(before[0], tmp_path / "run")
    # Which of them holds what is not said, and differs from run to run.
    for path in data_files(tmp_path / "run/checkpoints/24"):
        flip_bits(path)
    config = starting_config(tmp_path / "run", average=False)
    with pytest.raises(UserError, match=r"checkpoints/24 is damaged .*start_from\.checkpoint"):
        first_variables(config)
    config.start_from.checkpoint = "18"
    first_variables(config)


def test_a_mistake_ends_train_and_check_before_they_begin(files, tmp_path):
    file = write_config(starting_config(files / "nowhere"), tmp_path / "config.json")
    for verb, *more in (("train", f"--workdir={tmp_path}/run"), ("check",)):
        call(verb, f"--config={file}", *more).assert_mistake(
            "config.start_from.path: there is no file or folder"
        )


@pytest.mark.slow
@pytest.mark.parametrize("source", ["run", "file"])
def test_arrays_arrive_whole_on_split_parameters_and_in_several_processes(
    before, files, tmp_path, source
):
    """With a learning rate of 0 the parameters after a step are those that were loaded."""
    folder, _ = before
    path = folder if source == "run" else files / "own.safetensors"
    expected = saved(*before).params
    config = starting_config(path, average=False)
    config.duration = 1
    config.optimizer.learning_rate = 0.0
    config.mesh.update(fsdp=2, fsdp_min_size=8)
    file = write_config(config, tmp_path / "config.json")
    assert_complete(start(file, tmp_path / "one", devices=4))
    assert_complete(*start_processes(file, tmp_path / "two", 2, devices=2))
    config.mesh.fsdp = 1
    for workdir in ("one", "two"):
        found = saved(tmp_path / workdir, config, 1)
        assert_equal(found.params, expected)
        assert_equal(found.averages["evaluation"]["params"], expected)
        assert (tmp_path / workdir / "artifacts/loaded.txt").is_file()
