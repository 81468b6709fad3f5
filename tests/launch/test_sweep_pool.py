"""Runs in turn: never too many at once, each once, and a killed launcher is no loss."""

import pytest

from helpers.launch.fake_sweeps import Machines
from launch.sweeps.grammar import grid
from launch.sweeps.points import points_of
from launch.sweeps.pool import Pool

POINTS = points_of(grid(["seed=range(24)"]))


def pool(machines, max_parallel=4, **options):
    return Pool(machines.start, machines.state, max_parallel, 0, sleep=lambda _: None, **options)


@pytest.mark.parametrize("max_parallel", [1, 4, 100])
def test_each_runs_once_and_never_more_than_there_is_room_for(max_parallel):
    machines = Machines(looks=3)
    ended = list(pool(machines, max_parallel).run(POINTS))
    assert sorted(ended, key=lambda each: each[0].index) == [(each, "completed") for each in POINTS]
    assert machines.started == [each.name for each in POINTS]
    assert machines.most == min(max_parallel, len(POINTS))


@pytest.mark.parametrize("killed_after", [0, 1, 11, 23])
def test_a_launcher_that_was_killed_starts_only_what_is_missing(killed_after):
    machines = Machines(looks=3)
    first = pool(machines).run(POINTS)
    for _ in range(killed_after):
        next(first)
    before = list(machines.started)
    first.close()  # the runs go on
    ended = dict(pool(machines).run(POINTS))
    assert ended == dict.fromkeys(POINTS, "completed")
    assert machines.started == [each.name for each in POINTS]
    assert machines.started[: len(before)] == before


def test_what_failed_stays_so_unless_it_is_to_be_started_again():
    failing = Machines(ends=lambda point: "failed" if point.index % 2 else "completed")
    assert sum(state == "failed" for _, state in pool(failing).run(POINTS)) == 12
    failing.ends = lambda point: "completed"  # mended
    failing.left = {each.name: 0 for each in POINTS}
    failing.state = lambda point: (
        "failed" if point.index % 2 and failing.started.count(point.name) < 2 else "completed"
    )
    assert sum(state == "failed" for _, state in pool(failing).run(POINTS)) == 12
    assert len(failing.started) == 24
    again = pool(failing, again=frozenset({"failed"}))
    assert all(state == "completed" for _, state in again.run(POINTS))
    assert len(failing.started) == 36


@pytest.mark.parametrize("state", ["failed", "cancelled", "pruned", "lost", "stopped"])
def test_every_final_state_makes_room(state):
    machines = Machines(ends=lambda point: state)
    assert [end for _, end in pool(machines, 2).run(POINTS)] == [state] * 24


def test_a_point_is_made_from_all_that_ended_before():
    machines, told = Machines(looks=2), []

    def one_after_another():
        for each in POINTS[:6]:
            assert [point for point, _ in told] == list(POINTS[: each.index])
            yield each

    for ended in pool(machines, 1).run(one_after_another()):
        told.append(ended)
    assert len(told) == 6


def test_what_goes_on_is_shown_at_each_look():
    machines, seen = Machines(looks=3), []
    list(pool(machines, 2, watch=lambda going: seen.append(len(going))).run(POINTS[:3]))
    assert seen and set(seen) <= {1, 2} and 2 in seen


def test_without_points_nothing_happens():
    assert list(pool(Machines()).run(())) == []
