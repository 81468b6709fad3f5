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
    assert preemption.requested()
    with pytest.raises(preemption.Preempted, match=number.name):
        preemption.check()


def test_the_second_control_c_stops_at_once(installed):
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_blocking_work_is_left_behind_within_a_tenth_of_a_second(installed):
    release = threading.Event()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()
    with pytest.raises(preemption.Preempted):
        preemption.interruptible(release.wait)
    assert time.monotonic() - began < 2
    release.set()


def test_work_gives_back_its_result_or_its_error(installed):
    assert preemption.interruptible(lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        preemption.interruptible(lambda: 1 / 0)
