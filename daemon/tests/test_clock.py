"""A clock that is set back: seen, and the daemon begins anew."""

import signal
import subprocess
import sys
import threading

import pytest

from daemon.background import Background
from daemon.clock import Clock


class Time:
    def __init__(self):
        self.day, self.steady = 1_000_000.0, 50.0

    def goes_on(self, seconds, set_by=0.0):
        self.steady += seconds
        self.day += seconds + set_by


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def clock(time):
    return Clock(lambda: time.day, lambda: time.steady)


def test_time_that_passes_is_no_matter(time, clock):
    time.goes_on(3600)
    assert clock.set_back() == 0


def test_a_clock_that_is_set_back_is_seen(time, clock):
    time.goes_on(1, set_by=-1200)
    assert clock.set_back() == pytest.approx(1200)


def test_a_clock_that_is_set_forward_is_no_matter_but_its_way_back_is(time, clock):
    # A machine that slept: all that waits is due at once.
    time.goes_on(1, set_by=7200)
    assert clock.set_back() == 0
    time.goes_on(1, set_by=-7200)
    assert clock.set_back() == pytest.approx(7200)


def test_small_corrections_are_no_matter_until_they_are_many(time, clock):
    for _ in range(9):
        time.goes_on(60, set_by=-1)
        assert clock.set_back() == 0
    time.goes_on(60, set_by=-1)
    assert clock.set_back() == pytest.approx(10)


def test_who_watches_is_told_once(time, clock):
    told = threading.Event()
    times = []
    background = Background.__new__(Background)
    background._stop = threading.Event()
    time.goes_on(1, set_by=-1200)
    background.watch(clock, lambda: (times.append(1), told.set()))
    assert told.wait(10)
    background._stop.set()
    assert len(times) == 1


def test_the_process_begins_anew_after_its_end_in_order():
    code = (
        "import os, signal, sys, threading, time\n"
        "from daemon import clock\n"
        "from daemon.__main__ import Anew\n"
        "anew = Anew([sys.executable, '-c', 'print(\"anew\")'])\n"
        "def interrupted(*_): raise KeyboardInterrupt\n"
        "signal.signal(signal.SIGTERM, interrupted)\n"
        "threading.Timer(0.2, anew.ask).start()\n"
        "try: time.sleep(30)\n"
        "except KeyboardInterrupt: print('ended in order', flush=True)\n"
        "anew.begin_if_asked()\n"
        "print('not reached')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n")[:2] == ["ended in order", "anew"]
    assert done.returncode == 0, signal.Signals(-done.returncode) if done.returncode < 0 else done.stderr
