"""What each verb prints and leaves, as a user sees it."""

import importlib
import itertools
import json
import re
from types import SimpleNamespace

import pytest

from dlresearch.cli import VERBS
from dlresearch.training import measure
from dlresearch.training.memory import peak_bytes
from helpers.verbs import SMALL, call, process

# Of the network in SMALL: 3x3 convolution from 1 to 4 channels, batch normalisation, 10 classes.
PARAMETERS = 3 * 3 * 1 * 4 + 2 * 4 + 4 * 10 + 10
BATCH, TICK = 32, 1 / 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("verbs")
    (path / "small.py").write_text(SMALL)
    return path


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def trained(folder):
    """A run whose best checkpoint is the first, and what was printed."""
    best = ["--config.checkpoint.best=test/examples", "--config.checkpoint.best_is=lowest"]
    learning = "--config.optimizer.learning_rate=0.01"
    answer = call(
        "train", f"--config={folder}/small.py", f"--workdir={folder}/run", *best, learning
    )
    assert (answer.status, answer.err) == (0, "")
    return answer.out


def recorded(folder, step):
    rows = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    (row,) = [row for row in rows if row["step"] == step]
    return {name: value for name, value in row.items() if name.startswith("test/")}


@pytest.mark.slow
def test_train_shows_progress_and_result(trained, folder):
    assert "compiling a step ..." in trained
    assert re.search(r"step 2/4  train/accuracy \S+  train/loss \S+  test/accuracy", trained)
    assert "completed at step 4" in trained
    result = json.loads((folder / "run/result.json").read_text())
    assert (result["status"], result["step"]) == ("completed", 4)
    for name, value in result["metrics"].items():
        assert f"  {name} " in trained and f"{value:.6g}" in trained


@pytest.mark.parametrize(("checkpoint", "step"), [("newest", 4), ("best", 4), ("2", 2)])
def test_evaluate_gives_what_training_recorded(trained, folder, checkpoint, step):
    answer = call("evaluate", f"--workdir={folder}/run", f"--checkpoint={checkpoint}")
    assert (answer.status, answer.err) == (0, "")
    written = folder / f"run/artifacts/evaluation-{step}.json"
    assert json.loads(written.read_text()) == {"step": step, "metrics": recorded(folder, step)}
    assert f"step {step}\n" in answer.out and str(written) in answer.out
    for name, value in recorded(folder, step).items():
        assert re.search(rf"^  {name} +{value:.6g}$", answer.out, re.M)


@pytest.mark.slow
def test_evaluate_leaves_nothing_else_on_the_terminal(trained, folder):
    answer = process("dlresearch.cli", "evaluate", f"--workdir={folder}/run")
    assert (answer.status, answer.err) == (0, "")
    assert len(answer.out.splitlines()) == 5


def test_check_reports_schedule_parameters_memory_and_operations():
    answer = call("check", "--config=small.py")
    assert (answer.status, answer.err) == (0, "")
    for line in (
        "1,438 training examples, 4 steps of 32, 44.9 steps an epoch",
        "359 examples in evaluator 'test', every 2 steps",
        f"model: {PARAMETERS} parameters",
        "of parameters, optimizer state and averages",
        "of resident examples on each device",
        "for activations and other temporaries",
        "of memory on each device in all, estimated",
        " measured: growth of this process in the first step",
    ):
        assert line in answer.out
    assert re.search(r"Conv_0/kernel +float32 +36 +\[3, 3, 1, 4\]", answer.out)
    assert re.search(r"image +uint8\[32, 8, 8, 1\]  from 0 to 255, mean ", answer.out)
    assert re.search(r"\d [kM]FLOP in matrix products and convolutions", answer.out)
    assert re.search(r"the first one gives accuracy .*, loss [\d.]+", answer.out)
    assert answer.out.endswith("Nothing found that would fail.\n")


def test_benchmark_prints_one_line_of_figures(monkeypatch):
    """By a clock that moves on by 1/64 s whenever it is read, so that a wrong unit would show."""
    monkeypatch.setattr(
        measure, "time", SimpleNamespace(perf_counter=itertools.count(step=TICK).__next__)
    )
    answer = call("benchmark", "--config=small.py", "--json", "--calls=3")
    assert (answer.status, answer.err) == (0, "")
    figures = json.loads(answer.out)
    assert answer.out.count("\n") == 1 and figures.pop("device")
    assert figures.pop("waiting_for_data") > 0  # by the real clock
    peak = peak_bytes() / 2**30
    assert peak / 2 < figures.pop("peak_memory_gib") <= peak
    # Parameters, their gradients and two moments, and the examples of digits.
    least = 4 * 4 * PARAMETERS + 1438 * 64
    assert least < figures.pop("estimated_memory_gib") * 2**30 < 100 * least
    # Two passes of the convolution, as the gradient of the image is not needed, and three of the
    # dense layer; an addition for each multiplication. Along an axis, 3 taps at 8 places, of which
    # 2 are padding.
    flops = 2 * 2 * BATCH * (3 * 8 - 2) ** 2 * 4 + 3 * 2 * BATCH * 4 * 10
    assert figures == pytest.approx(
        {
            "compile_seconds": TICK,
            "steps_per_call": 1,
            # Between two readings of the clock there is a third, for the dispatch.
            "step_milliseconds_median": 1e3 * 2 * TICK,
            "step_milliseconds_10th_percentile": 1e3 * 2 * TICK,
            "step_milliseconds_90th_percentile": 1e3 * 2 * TICK,
            "dispatch_microseconds_median": 1e6 * TICK,
            "examples_per_second": 3 * BATCH / TICK,
            "step_gigaflops": flops / 1e9,
            "teraflops": 3 * flops / TICK / 1e12,
            "matmul_teraflops": 2 * 2048**3 / TICK / 1e12,
            "utilisation": 3 * flops / (2 * 2048**3),
        }
    )


@pytest.mark.slow
def test_benchmark_prints_a_table_for_a_person_and_traces_the_step(tmp_path):
    folder = tmp_path / "new/trace"
    answer = call("benchmark", "--config=small.py", "--calls=3", f"--trace={folder}")
    assert (answer.status, answer.err) == (0, "")
    for pattern in (
        r"timing 3 calls",
        r"step +\S+ ms, the middle 80 % from \S+ to \S+",
        r"throughput +[\d,]+ examples/s",
        r"utilisation +\S+% of the best float32 matrix product here",
        r"peak memory +\S+ GiB",
        r"estimated memory +\S+ GiB on each device",
    ):
        assert re.search(pattern, answer.out), answer.out
    assert (folder / "step.hlo.txt").read_text().startswith("HloModule")
    slowest = re.findall(r"^ +([\d.]+) ms +([\d.]+)%  (\S+) *(.*)$", answer.out, re.M)
    assert len(slowest) == 10 and len({name for *_, name, _ in slowest}) == 10
    seconds, shares = ([float(row[i]) for row in slowest] for i in (0, 1))
    assert seconds == sorted(seconds, reverse=True) and 0 < sum(shares) <= 100.5
    # Scopes tell the parts of a step apart.
    sources = {source.split("/")[0] for *_, source in slowest}
    assert sources & {"model", "augment"}


def test_a_trace_that_cannot_be_written_is_refused_before_anything_is_timed():
    answer = call("benchmark", "--config=small.py", "--trace=/dev/null/trace")
    answer.assert_mistake("--trace: cannot write /dev/null/trace")
    assert "throughput" not in answer.out


def test_command_without_arguments_lists_the_verbs():
    answer = process("dlresearch.cli")
    assert (answer.status, answer.err) == (0, "")
    for verb, what in VERBS.items():
        assert re.search(rf"^  {verb} +{what}$", answer.out, re.M)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_module_and_help(verb):
    assert callable(importlib.import_module(f"dlresearch.{verb}").main)
    answer = call(verb, "--help")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith(f"`dlresearch {verb}`: ")
    assert f"    dlresearch {verb} --" in answer.out
    for flag in ("--config ", "--config.SETTING ", "--workdir ", "--compilation_cache "):
        assert f"\n  {flag}" in answer.out


def test_help_shows_the_flags_of_the_verb_alone():
    answer = process("dlresearch.cli", "evaluate", "--help")
    assert "--checkpoint" in answer.out and "Default: newest." in " ".join(answer.out.split())
    assert "--calls" not in answer.out
