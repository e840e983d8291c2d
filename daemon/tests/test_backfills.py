"""How often backfills are looked at."""

import threading
from concurrent.futures import Future

import pytest
from dagster._daemon.daemon import BackfillDaemon

from daemon import backfills


class EndedError(Exception):
    pass


class Clock(threading.Event):
    """Notes what was waited for, and ends the loop after some waits."""

    def __init__(self, waits):
        super().__init__()
        self.waited, self._waits = [], waits

    def wait(self, timeout=None):
        self.waited.append(timeout)
        if len(self.waited) == self._waits:
            raise EndedError
        return False


def outcome(errors):
    future = Future()
    future.set_exception(errors) if isinstance(errors, Exception) else future.set_result(errors)
    return future


def waited(monkeypatch, waits, *looks):
    """What the loop waits for when its looks start work with these outcomes."""
    outcomes = iter(looks)

    def look(*_, backfill_futures, **__):
        backfill_futures["a"] = outcome(next(outcomes))
        yield None

    monkeypatch.setattr(backfills, "execute_backfill_iteration", look)
    clock = Clock(waits)
    daemon = backfills.PromptBackfillDaemon({})
    with daemon, pytest.raises(EndedError):
        list(daemon.core_loop(None, clock))
    return clock.waited


def test_backfills_are_looked_at_every_five_seconds(monkeypatch):
    assert waited(monkeypatch, 3, [], [None], []) == [5, 5, 5]


@pytest.mark.parametrize("failure", [["an error"], RuntimeError("of the thread")])
def test_one_that_failed_is_tried_again_at_dagsters_interval(monkeypatch, failure):
    assert waited(monkeypatch, 4, failure, [], []) == [5, 25, 5, 5]


def test_one_that_is_still_at_work_is_waited_for(monkeypatch):
    running = Future()
    under_way = {"a": running, "b": outcome(["an error"])}
    assert backfills._failed(under_way)
    assert under_way == {"a": running}


def test_a_look_that_fails_ends_nothing(monkeypatch):
    def look(*_, **__):
        raise RuntimeError("the database is away")

    monkeypatch.setattr(backfills, "execute_backfill_iteration", look)
    daemon = backfills.PromptBackfillDaemon({})
    with daemon:
        said = list(daemon._look(None, {}))
    assert "the database is away" in said[0].message


def test_its_heartbeat_has_the_name_that_dagster_looks_for():
    assert backfills.PromptBackfillDaemon.daemon_type() == BackfillDaemon.daemon_type()
