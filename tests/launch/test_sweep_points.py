"""The runs of a sweep: their names, their commands, the file that remembers them, their checks."""

import json
import shlex

import pytest

from dlresearch.config import load, split_overrides, validate
from dlresearch.errors import Refused, UserError
from helpers.processes import ROOT
from launch.sweeps.check import ALL_POINTS, Checker
from launch.sweeps.file import from_file
from launch.sweeps.grammar import grid, space
from launch.sweeps.points import Sweep, points_of, read_sweep

DIGITS = f"--config={ROOT}/experiments/cnn/digits.py"
BASE = ("python", "-m", "dlresearch.train", DIGITS)


def points(*texts):
    return points_of(grid(texts))


# --- names and commands -------------------------------------------------------------------------


def test_a_name_is_the_index_and_a_hash_of_the_overrides_whatever_their_order():
    first, second = points("seed=1,2; batch_size=8")
    [other_way_round] = points("batch_size=8; seed=1")
    assert [each.name[:5] for each in (first, second)] == ["0000-", "0001-"]
    assert first.name == other_way_round.name == "0000-56af9901"  # in every process
    assert first.name[5:] != second.name[5:]


def test_a_command_is_the_base_with_what_the_point_changes():
    [point] = points("optimizer.learning_rate=1e-3; model='mlp(hidden=(8, 8))'")
    settings = ("--config.optimizer.learning_rate=1e-3", "--config.model=mlp(hidden=(8, 8))")
    assert point.command((*BASE, "--config.seed=1")) == (*BASE, "--config.seed=1", *settings)


@pytest.mark.parametrize(
    ("given", "text", "expected"),
    [
        ("x.py", ":epochs=5", "x.py:epochs=5"),
        ("x.py:", ":epochs=5", "x.py:epochs=5"),
        ("x.py:wide", ":epochs=5; :seed=2", "x.py:wide,epochs=5,seed=2"),
        ("x.py", ":widths=(1, 2)", "x.py:widths=(1, 2)"),
        ("x.py", ":path='a,b'", "x.py:path='a,b'"),
        ("x.py", ':path="it\'s"', 'x.py:path="it\'s"'),
        ("x.py", ":path=''", "x.py:path=''"),
    ],
)
def test_arguments_of_the_file_go_behind_its_colon(given, text, expected):
    [point] = points(text)
    assert point.command(("p", f"--config={given}", "-v")) == ("p", f"--config={expected}", "-v")


def test_what_a_point_says_arrives_at_the_trainer(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "from dlresearch.config import arguments, default_config\n"
        "def get_config(arg=''):\n"
        "    args = arguments(arg, path='', sizes=(1,))\n"
        "    config = default_config()\n"
        "    config.start_from.path = f'{args.path}|{args.sizes}'\n"
        "    return config\n"
    )
    hostile = "a,b; $(rm) `x` (y"
    [point] = points(f":path='{hostile}'; :sizes=(3, 4); log.every='7 epochs'; seed=5")
    overrides, rest = split_overrides(
        shlex.split(shlex.join(point.command(("", f"--config={file}"))))
    )
    experiment = validate(load(rest[-1].removeprefix("--config="), overrides))
    assert experiment.start_from.path == f"{hostile}|(3, 4)"
    assert str(experiment.log.every) == "7 epochs" and experiment.seed == 5


def test_the_same_point_twice_is_an_error_that_names_both():
    with pytest.raises(UserError, match="runs 1 and 2 are the same: seed=2"):
        points("seed=1,2", "seed=2")


# --- a Python file ------------------------------------------------------------------------------


def test_a_python_file_yields_points(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "import numpy as np\nfrom dlresearch.config import component\n"
        "def sweep():\n"
        "    yield {'optimizer.learning_rate': 1e-3, 'seed': np.int64(3), ':name': 'x'}\n"
        "    yield {'model': component('mlp', hidden=(8, 8)), 'optimizer.clip_norm': None}\n"
        "    yield {'optimizer.learning_rate': np.float64(0.5), 'model.widths': [1, 2]}\n"
    )
    assert [dict(each) for each in from_file(file)] == [
        {"optimizer.learning_rate": "0.001", "seed": "3", ":name": "x"},
        {"model": "{'hidden': (8, 8), 'name': 'mlp'}", "optimizer.clip_norm": "None"},
        {"optimizer.learning_rate": "0.5", "model.widths": "(1, 2)"},
    ]
    chosen = points_of(from_file(file))[1]
    experiment = Checker(BASE).experiment(chosen)
    assert experiment.model.name == "mlp" and experiment.model.arguments["hidden"] == (8, 8)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "must define sweep()"),
        ("def sweep(:", "x.py:1: SyntaxError"),
        ("def sweep():\n    yield {'seed': 1 / 0}", "x.py:2: ZeroDivisionError"),
        ("def sweep():\n    return 3", "not return 3"),
        ("def sweep():\n    yield from ()", "yields nothing"),
        ("def sweep():\n    yield 3", "point 0: yield settings by name"),
        ("def sweep():\n    yield {'seed': 1}\n    yield {}", "point 1: yield settings by name"),
        ("def sweep():\n    yield {1: 1}", "1 is no setting"),
        ("def sweep():\n    yield {'a b': 1}", "'a b' is no setting"),
        ("def sweep():\n    yield {'seed': object()}", "point 0: seed: a number, text"),
        ("def sweep():\n    yield {'seed': 1, 'config.seed': 2}", "seed is set twice"),
        ("def sweep():\n  while True:\n    yield {'seed': 1}", "100,000 runs are the most"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path, content, problem):
    (tmp_path / "x.py").write_text(content)
    with pytest.raises(UserError) as error:
        from_file(tmp_path / "x.py")
    assert str(error.value).startswith("--sweep_file=") and problem in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        from_file(tmp_path / "x.py")


# --- sweep.json ---------------------------------------------------------------------------------


def test_a_sweep_is_read_as_it_was_written(tmp_path):
    sweep = Sweep(BASE, points("a=1,2; b='x\ny'"), {"kind": "random"})
    sweep.write(tmp_path)
    assert read_sweep(tmp_path) == sweep


def test_started_again_points_keep_their_names_and_new_ones_come_behind(tmp_path):
    first = Sweep(BASE, points("seed=3,1"))
    first.write(tmp_path)
    again = Sweep(BASE, points("seed=1,2,3")).continued(tmp_path)
    assert again.points[:2] == first.points
    assert again.points[2].name.startswith("0002-") and again.points[2].overrides == (
        ("seed", "2"),
    )
    again.write(tmp_path)
    assert Sweep(BASE, points("seed=1,2,3")).continued(tmp_path) == again


@pytest.mark.parametrize(
    ("now", "problem"),
    [
        (Sweep(BASE, points("seed=1")), r"run 0001-.* \(seed=2\), which --sweep no longer has"),
        (
            Sweep((*BASE[:-1], "--config=y.py"), points("seed=1,2")),
            "another command: it was --config=.*digits.py, now it is --config=y.py",
        ),
        (Sweep(BASE[::-1], points("seed=1,2")), "another command: the order differs"),
        (Sweep(BASE, (), {"kind": "random"}), "holds a sweep with no --search"),
    ],
)
def test_another_sweep_does_not_go_into_the_folder(tmp_path, now, problem):
    Sweep(BASE, points("seed=1,2")).write(tmp_path)
    with pytest.raises(UserError, match=problem):
        now.continued(tmp_path)


def test_another_search_does_not_go_into_the_folder(tmp_path):
    Sweep(BASE, (), {"kind": "random", "seed": 0}).write(tmp_path)
    with pytest.raises(UserError, match="seed 0, not 1; use another --workdir"):
        Sweep(BASE, (), {"kind": "random", "seed": 1}).continued(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"command": [], "points": [{}]}', "\x00"])
def test_a_file_that_is_none_of_ours_is_said_to_be(tmp_path, content):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match=r"sweep\.json cannot be read as a sweep"):
        read_sweep(tmp_path)


def test_a_damaged_file_is_not_replaced(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps({"command": []}))
    with pytest.raises(UserError):
        Sweep(BASE, points("seed=1")).continued(tmp_path)


# --- checks -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checker():
    return Checker((*BASE, "--config.seed=3"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("optimizer.learning_rat=1", "did you mean 'learning_rate'?"),
        ("optimiser.learning_rate=1", "did you mean 'optimizer'?"),
        (
            "optimizer.learning_rate=log(1e-4,1,3),x",
            "run 3 (optimizer.learning_rate=x): ",
        ),
        ("model=convnet(widths=(1, 2)),mlp(hiden=(3,))", "run 1 (model=mlp(hiden=(3,))): config."),
        ("modle=mlp", "did you mean 'model'?"),
        (":epoch=3,4", "did you mean 'epochs'?"),
        ("batch_size=8,9; accumulate=3", "run 0 (batch_size=8, accumulate=3): config.accumulate"),
        ("seed=-1", "config.seed: must be at least 0"),
    ],
)
def test_every_override_is_checked_and_the_point_is_named(checker, text, problem):
    with pytest.raises(UserError) as error:
        checker.check_points(points(text))
    message = str(error.value)
    assert message.startswith("run ") and problem in message and "\n" not in message


def test_settings_that_only_fit_together_are_checked_together(checker):
    checker.check_points(points("model=mlp & model.hidden=(3,)"))
    checker.check_points(points("model.hidden=(3,); model=mlp"))
    with pytest.raises(UserError, match=r"config\.model\.convs_per_stage: mlp has no argument"):
        checker.check_points(points("model.convs_per_stage=1; model=convnet,mlp"))


def test_the_command_line_is_what_the_points_stand_on():
    checker = Checker((*BASE, "--config.model=mlp", "--config.model.hidden=(4,)"))
    [point] = points("model.activation=gelu")
    assert checker.experiment(point).model.arguments == {"hidden": (4,), "activation": "gelu"}


def test_many_points_are_checked_once_for_each_value(checker, monkeypatch):
    whole, checked = checker.experiment, []
    monkeypatch.setattr(checker, "experiment", lambda each: checked.append(each) or whole(each))
    few = points(f"optimizer.learning_rate=1e-3; seed=range({ALL_POINTS})")
    checker.check_points(few[:20])
    assert len(checked) == 20
    checked.clear()
    many = points("optimizer.learning_rate=log(1e-4,1,100); seed=range(100)")
    checker.check_points(many)
    assert len(many) == 10_000 and len(checked) == 199
    wrong = points("optimizer.learning_rate=log(1e-4,1,100); seed=range(-1,99)")
    with pytest.raises(UserError, match="seed=-1"):
        checker.check_points(wrong)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("optimizer.learning_rate=loguniform(1e-4,1); modle=mlp,convnet", "did you mean 'model'?"),
        ("seed=int(-5,5)", "config.seed: must be at least 0"),
        ("model=choice(mlp,convnet,mpl)", "did you mean 'mlp'?"),
    ],
)
def test_all_that_a_search_may_draw_is_checked_at_its_ends(checker, text, problem):
    with pytest.raises(UserError, match=r"^run ") as error:
        checker.check_space(space([text]))
    assert problem in str(error.value)


def test_what_the_experiment_refuses_is_no_mistake_in_a_search(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "from dlresearch.config import arguments, default_config\n"
        "from dlresearch.errors import Refused\n"
        "def get_config(arg=''):\n"
        "    args = arguments(arg, width=1)\n"
        "    if args.width > 4:\n"
        "        raise Refused('too wide')\n"
        "    return default_config()\n"
    )
    checker = Checker(("x", f"--config={file}"))
    checker.check_space(space([":width=int(1,9)"]))
    with pytest.raises(Refused, match=r"run 1 \(:width=5\): too wide"):
        checker.check_points(points(":width=4,5"))
    with pytest.raises(UserError, match="did you mean 'width'"):
        checker.check_space(space([":widht=int(1,9)"]))


@pytest.mark.parametrize(
    ("objective", "problem"),
    [
        ("tst/accuracy", "did you mean 'test'?"),
        ("accuracy", "give EVALUATOR/METRIC"),
        ("test/", "give EVALUATOR/METRIC"),
    ],
)
def test_an_objective_is_a_metric_of_an_evaluator(checker, objective, problem):
    checker.check_points(points("seed=1"), "test/accuracy")
    checker.check_space(space(["seed=1,2"]), "train/loss")
    for check in (
        lambda: checker.check_points(points("seed=1"), objective),
        lambda: checker.check_space(space(["seed=1,2"]), objective),
    ):
        with pytest.raises(UserError, match=r"^--objective=") as error:
            check()
        assert problem in str(error.value)


def test_an_objective_that_only_some_points_have_is_right(checker):
    name = "evaluators.second.name=classification"
    checker.check_points(points("seed=1", name), "second/accuracy")


def test_without_a_config_there_is_nothing_to_check():
    with pytest.raises(UserError, match="--config=FILE is missing"):
        Checker(("python", "-m", "dlresearch.train"))
