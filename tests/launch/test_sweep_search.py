"""Search by Optuna: reproducible, resumable, and told the truth."""

import json
import statistics
import sys
import warnings

import optuna
import pytest

from dlresearch.errors import Refused, UserError
from helpers.launch.fake_sweeps import METRIC, Anything, bowl, write_result
from launch.sweeps.grammar import space
from launch.sweeps.points import Sweep, read_sweep
from launch.sweeps.pool import Pool
from launch.sweeps.samplers import KINDS, SearchOptions
from launch.sweeps.search import JOURNAL, Search

BOWL = "a=loguniform(1e-4, 1); b=uniform(-1, 1)"


def options(kind="random", trials=6, **others):
    return SearchOptions(kind, trials, METRIC, "minimize", **others)


def search(folder, chosen, text=BOWL, checker=None):
    sweep = Sweep(("base",), (), chosen.record(text)).continued(folder)
    return Search(folder, sweep, space([text]), chosen, checker or Anything())


def finish(folder, found, loss=bowl, at_most=1000):
    """Each run at once; the first `at_most` of them. Returns their overrides."""
    runs = folder / "runs"

    def start(point):
        write_result(runs / point.name, **{METRIC.replace("/", "_"): loss(point)})

    def state(point):
        return "completed" if (runs / point.name / "result.json").exists() else "unstarted"

    made = []
    for point, ended in Pool(start, state, 1, 0, sleep=lambda _: None).run(found.points()):
        found.tell(point, ended)
        made.append(point)
        if len(made) == at_most:
            break
    return made


def study(folder):
    storage = optuna.storages.journal
    backend = storage.JournalFileBackend(str(folder / JOURNAL))
    return optuna.load_study(study_name="sweep", storage=storage.JournalStorage(backend))


def trials(folder):
    return study(folder).get_trials()


# --- what is drawn ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_that_was_stopped_draws_what_it_would_have_drawn(tmp_path, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = finish(tmp_path / "whole", search(tmp_path / "whole", options(kind, 12)))
        parts = []
        for at_most in (1, 4, 1000):
            found = search(tmp_path / "parts", options(kind, 12))
            parts += finish(tmp_path / "parts", found, at_most=at_most)
    assert parts == whole and len(set(whole)) == 12
    assert read_sweep(tmp_path / "parts").points == tuple(whole)
    other = finish(tmp_path / "other", search(tmp_path / "other", options(kind, 3, seed=1)))
    assert other != whole[:3]


def test_draws_are_in_their_ranges_and_of_their_kind(tmp_path):
    text = "a=loguniform(1e-4,1e-2); b=int(-2,3); c=logint(1,64); d=choice('x,y',z); e=7"
    found = finish(tmp_path, search(tmp_path, options("halton", 40), text), loss=lambda point: 0.0)
    drawn = [dict(point.overrides) for point in found]
    assert all(1e-4 <= float(each["a"]) <= 1e-2 for each in drawn)
    assert sum(float(each["a"]) < 1e-3 for each in drawn) in range(17, 24)  # half, in the logarithm
    assert {int(each["b"]) for each in drawn} == set(range(-2, 4))
    assert sum(int(each["c"]) < 8 for each in drawn) in range(14, 27)
    assert {each["d"] for each in drawn} == {"x,y", "z"} and {each["e"] for each in drawn} == {"7"}


def test_bayesian_search_draws_where_it_was_good_and_random_search_anywhere(tmp_path):
    late = {}
    for kind in ("random", "bayesian"):
        made = finish(tmp_path / kind, search(tmp_path / kind, options(kind, 24)))
        late[kind] = statistics.median(map(bowl, made[12:]))
    assert late["bayesian"] < 0.5 * late["random"]


def test_more_trials_go_on_where_the_search_was(tmp_path):
    first = finish(tmp_path, search(tmp_path, options(trials=3)))
    more = finish(tmp_path, search(tmp_path, options(trials=5)))
    assert len(more) == 2 and not {*first} & {*more}
    assert finish(tmp_path, search(tmp_path, options(trials=5))) == []


def test_another_search_does_not_go_into_the_folder(tmp_path):
    finish(tmp_path, search(tmp_path, options(trials=2)))
    with pytest.raises(UserError, match="kind 'random', not 'halton'"):
        search(tmp_path, options("halton", 2))


# --- runs that are not over ---------------------------------------------------------------------


def test_runs_of_a_killed_launcher_are_taken_up_first_and_asked_once(tmp_path):
    found = search(tmp_path, options(trials=4))
    source = found.points()
    going_on = [next(source), next(source)]  # two at once; then the launcher is killed
    again = finish(tmp_path, search(tmp_path, options(trials=4)))
    assert again[:2] == going_on and len(again) == 4
    assert [trial.state.name for trial in trials(tmp_path)] == ["COMPLETE"] * 4


def test_a_trial_that_was_drawn_half_is_left_behind(tmp_path):
    search(tmp_path, options())
    study(tmp_path).ask()
    made = finish(tmp_path, search(tmp_path, options(trials=2)))
    assert [point.index for point in made] == [1, 2]


@pytest.mark.parametrize("state", ["stopped", "lost", "cancelled"])
def test_a_run_that_may_go_on_is_not_over(tmp_path, state):
    found = search(tmp_path, options(trials=1))
    [point] = found.points()
    found.tell(point, state)
    assert [*search(tmp_path, options(trials=1)).points()] == [point]


# --- what the search is told --------------------------------------------------------------------


def test_what_became_of_each_run_is_in_the_journal(tmp_path):
    found = search(tmp_path, options(trials=6))
    source = found.points()
    ends = {
        "completed": ("completed", 0.5, "COMPLETE"),
        "nan": ("completed", None, "PRUNED"),
        "pruned": ("resume", 0.7, "PRUNED"),
        "diverged": ("diverged", 0.6, "PRUNED"),
        "failed": ("failed", 0.6, "FAIL"),
    }
    for name, (status, value, _) in ends.items():
        point = next(source)
        write_result(tmp_path / "runs" / point.name, status, test_loss=value)
        state = {"nan": "completed", "diverged": "failed"}.get(name, name)
        found.tell(point, state, "process 1 was killed by SIGKILL")
    told = trials(tmp_path)
    assert [trial.state.name for trial in told] == [state for _, _, state in ends.values()]
    assert told[0].value == 0.5
    assert told[4].user_attrs["cause"] == "process 1 was killed by SIGKILL"


def test_a_metric_that_is_not_there_is_an_error_with_the_closest_one(tmp_path):
    found = search(tmp_path, options())
    point = next(found.points())
    write_result(tmp_path / "runs" / point.name, test_los=0.5)
    with pytest.raises(UserError, match=r"--objective=test/loss: run 0000-.*'test/los'"):
        found.tell(point, "completed")


def test_what_the_experiment_refuses_is_not_run_and_does_not_count(tmp_path):
    def refuse(point):
        if float(dict(point.overrides)["b"]) > 0:
            raise Refused("over the budget")

    made = finish(tmp_path, search(tmp_path, options(trials=8), checker=Anything(refuse)))
    assert len(made) == 8 and all(float(dict(point.overrides)["b"]) <= 0 for point in made)
    refused = [trial for trial in trials(tmp_path) if "refused" in trial.user_attrs]
    assert refused and all(trial.state.name == "PRUNED" for trial in refused)
    assert len(trials(tmp_path)) == 8 + len(refused)


def test_where_everything_is_refused_the_search_ends_with_the_reason(tmp_path):
    def refuse(point):
        raise Refused("over the budget")

    with pytest.raises(UserError, match="refuses whatever is drawn, such as over the budget"):
        next(search(tmp_path, options(), checker=Anything(refuse)).points())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_run_twice_and_a_space_can_be_used_up(tmp_path, kind):
    text = "a=1,0.1; b=int(0,1)"
    made = finish(tmp_path, search(tmp_path, options(kind, 9), text))
    assert len({point.overrides for point in made}) == len(made) == 4


# --- pruning ------------------------------------------------------------------------------------


def report(folder, point, values):
    lines = [
        *({"step": 7 * i, "test/loss": value} for i, value in enumerate(values)),
        {"step": 99, "train/loss": 0.0},
    ]
    path = folder / "runs" / point.name
    path.mkdir(parents=True, exist_ok=True)
    whole = "".join(json.dumps(line) + "\n" for line in lines)
    (path / "metrics.jsonl").write_text(whole + '{"step": 100, "test/lo')


@pytest.mark.parametrize("prune", ["median", "halving"])
def test_a_run_that_is_behind_is_to_be_stopped_and_one_in_front_is_not(tmp_path, prune):
    found = search(tmp_path, options(trials=8, prune=prune))
    source = found.points()
    for i in range(6):
        point = next(source)
        report(tmp_path, point, [1.0 + i, 0.9 + i, 0.8 + i])
        assert point in found.to_stop([point]) or prune == "median" or i == 0
        write_result(tmp_path / "runs" / point.name, test_loss=0.8 + i)
        found.tell(point, "completed")
    behind, front = next(source), next(source)
    report(tmp_path, behind, [9.0])
    report(tmp_path, front, [0.1])
    assert found.to_stop([behind, front]) == [behind]
    assert found.to_stop([front]) == []  # nothing new
    found.tell(behind, "pruned")
    again = search(tmp_path, options(trials=8, prune=prune))
    assert next(again.points()) == front
    report(tmp_path, front, [0.1, 0.2])
    assert again.to_stop([front]) == []
    assert trials(tmp_path)[front.index].intermediate_values == {1: 0.1, 2: 0.2}


def test_without_pruning_nothing_is_stopped(tmp_path):
    found = search(tmp_path, options())
    point = next(found.points())
    report(tmp_path, point, [9.0])
    assert found.to_stop([point]) == []


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"kind": "bayes"}, "--search=bayes: did you mean 'bayesian'?"),
        ({"direction": "up"}, "--direction=up: valid: maximize, minimize"),
        ({"prune": "meidan"}, "--prune=meidan: did you mean 'median'?"),
        ({"trials": 0}, "--trials=0: at least 1"),
    ],
)
def test_an_unknown_option_is_one_line(changed, problem):
    given = {"kind": "random", "trials": 1, "objective": METRIC, "direction": "minimize"}
    with pytest.raises(UserError) as error:
        SearchOptions(**{**given, **changed})
    assert str(error.value) == problem


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'dlresearch\[search\]'"):
        search(tmp_path, options())


def test_a_journal_whose_last_line_was_cut_off_is_read(tmp_path):
    """As a launcher leaves it that was killed while it wrote."""
    first = finish(tmp_path, search(tmp_path, options(trials=2)))
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"op_code": 4, "worker_id": "0')
    more = finish(tmp_path, search(tmp_path, options(trials=4)))
    assert len(more) == 2 and len(trials(tmp_path)) == 4 and not {*first} & {*more}


def test_a_journal_that_is_none_is_said_to_be(tmp_path):
    (tmp_path / JOURNAL).write_text("something else\n")
    with pytest.raises(UserError, match=r"optuna\.journal cannot be read as a journal of Optuna"):
        search(tmp_path, options())
