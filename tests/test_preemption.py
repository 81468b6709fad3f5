"""A signal is noted, not obeyed; work that blocks is left behind."""

import os
import signal
import threading
import time

import pytest

from dlresearch import preemption


@pytest.fixture
def installed():
    numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    preemption.reset()
    preemption.install()
    yield
    preemption.reset()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_is_raised_where_it_is_asked_for(installed, number):
    preemption.check()
    os.kill(os.getpid(), number)
    assert preemption.received() == number.name
    with pytest.raises(preemption.Preempted, match=number.name):
        preemption.check()


def test_the_second_control_c_stops_at_once(installed):
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_blocking_work_is_left_behind_within_a_tenth_of_a_second(installed, monkeypatch):
    """A signal is looked for at least that often, and the work is not waited for."""
    release, pauses, sleep = threading.Event(), [], time.sleep
    monkeypatch.setattr(time, "sleep", lambda pause: pauses.append(pause) or sleep(pause))
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(preemption.Preempted):
        preemption.interruptible(release.wait)
    assert preemption.left_behind() and max(pauses) <= 0.1
    release.set()


def test_work_gives_back_its_result_or_its_error(installed):
    assert preemption.interruptible(lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        preemption.interruptible(lambda: 1 / 0)


def agreed(on_place, why="SIGTERM to process 1 of 2"):
    thread = threading.Thread(target=preemption.agree, args=(on_place, why))
    thread.start()
    return thread


def places_until_stopped(limit=20) -> int:
    for passed in range(limit):
        try:
            preemption.check()
        except preemption.Preempted:
            return passed + 1
    raise AssertionError("never stopped")


def test_processes_stop_at_the_last_place_that_any_of_them_names(installed):
    preemption.await_agreement()
    preemption.check()
    preemption.check()
    named = []
    agreed(lambda place: max(named.append(place) or place, 7)).join()
    assert named == [3]  # the first one that is still to come
    assert places_until_stopped() == 7 - 2
    assert preemption.reason() == "SIGTERM to process 1 of 2"


def test_a_signal_alone_stops_nothing_where_processes_agree(installed):
    preemption.await_agreement()
    os.kill(os.getpid(), signal.SIGTERM)
    preemption.check()
    assert preemption.received() == "SIGTERM"


def test_nobody_passes_the_next_place_while_the_others_are_asked(installed):
    preemption.await_agreement()
    asked, answer, order = threading.Event(), threading.Event(), []

    def ask(place: int) -> int:
        asked.set()
        answer.wait()
        order.append("answered")
        return place

    thread = agreed(ask)
    asked.wait()
    threading.Timer(0.1, answer.set).start()
    with pytest.raises(preemption.Preempted):
        preemption.check()
    order.append("stopped")
    assert order == ["answered", "stopped"]
    thread.join()


def test_work_that_can_be_left_behind_is_where_the_process_stops_if_all_are_that_far(installed):
    preemption.await_agreement()
    release = threading.Event()
    named = []

    def ask(place: int) -> int:
        named.append(place)
        return place

    def work():
        agreed(ask)
        release.wait()

    with pytest.raises(preemption.Preempted):
        preemption.interruptible(work)
    release.set()
    assert named == [1]  # that of its beginning: it need not come to its end


def test_work_goes_on_where_another_process_is_further(installed):
    preemption.await_agreement()

    def work():
        agreed(lambda place: place + 3).join()
        return "done"

    assert preemption.interruptible(work) == "done"
    assert places_until_stopped() == 2  # the work was two places: its beginning and its end


def test_progress_counts_places_and_the_time_since(installed):
    before, _ = preemption.progress()
    began = time.monotonic()
    preemption.check()
    after = time.monotonic()
    time.sleep(0.05)
    asked = time.monotonic()
    passed, waited = preemption.progress()
    assert passed == before + 1
    assert asked - after <= waited <= time.monotonic() - began
