"""The queue is looked at when a run was queued, not a moment later, and never so often that nothing else is done."""

import threading
import time
from collections.abc import Iterator

import psycopg2
import pytest
from dagster import DagsterRun
from dagster._daemon.daemon import SpanMarker
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from daemon.launches import Launches
from daemon.run_queue import LEAST_PAUSE, Listener, WokenQueueDaemon
from platform_kit.migrations.scratch import database
from run_launcher.coordinator import QUEUED

# Longer than any of these tests may take: what comes sooner came because it was told.
NEVER = 600.0


class Queue(WokenQueueDaemon):
    """Notes when it was looked at."""

    def __init__(self, woken: threading.Event, interval: float = NEVER) -> None:
        super().__init__(interval, woken, Launches())
        self.looks: list[float] = []
        self.error: Exception | None = None

    def run_iteration(self, *_: object, **__: object) -> Iterator[None]:
        self.looks.append(time.monotonic())
        if self.error:
            raise self.error
        yield None


@pytest.fixture
def woken() -> threading.Event:
    return threading.Event()


def until(queue: Queue, looks: int, stop: threading.Event | None = None) -> list[object]:
    """Run its loop until it has looked so often; what it said on the way."""
    said = []
    for each in queue.core_loop(None, stop or threading.Event()):  # type: ignore[arg-type]
        said.append(each)
        if len(queue.looks) >= looks:
            return said
    raise AssertionError("the loop ended")


def test_it_looks_at_once_when_it_is_told(woken: threading.Event) -> None:
    queue = Queue(woken)
    threading.Timer(0.3, woken.set).start()
    until(queue, 2)


def test_what_is_told_while_it_looks_is_not_forgotten(woken: threading.Event) -> None:
    class Told(Queue):
        def run_iteration(self, *args: object, **kwargs: object) -> Iterator[None]:
            woken.set()
            return super().run_iteration()

    until(Told(woken), 2)


def test_it_looks_each_interval_when_nobody_tells_it(woken: threading.Event) -> None:
    until(Queue(woken, interval=0.2), 3)


def test_whoever_tells_it_all_the_time_does_not_keep_it_busy(woken: threading.Event) -> None:
    class Flooded(Queue):
        def run_iteration(self, *args: object, **kwargs: object) -> Iterator[None]:
            woken.set()
            return super().run_iteration()

    queue = Flooded(woken)
    until(queue, 5)
    pauses = [later - earlier for earlier, later in zip(queue.looks, queue.looks[1:], strict=False)]
    assert min(pauses) >= LEAST_PAUSE * 0.9


def test_an_error_is_told_and_the_loop_goes_on(woken: threading.Event) -> None:
    queue = Queue(woken, interval=0.1)
    queue.error = RuntimeError("the database is away")
    said = until(queue, 2)
    assert any("the database is away" in str(each) for each in said)
    assert said[0] == SpanMarker.START_SPAN


def test_what_it_launches_is_known_until_the_end(woken: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    launches, seen = Launches(), []

    def launch(*_: object) -> bool:
        seen.append(set(launches._under_way))
        raise RuntimeError("the database is away")

    monkeypatch.setattr(QueuedRunCoordinatorDaemon, "_dequeue_run", launch)
    run = DagsterRun(job_name="daily")
    with pytest.raises(RuntimeError, match="away"):
        WokenQueueDaemon(NEVER, woken, launches)._dequeue_run(None, None, run, None, None)  # type: ignore[arg-type]
    assert seen == [{run.run_id}]
    assert launches._under_way == set()
    assert launches.recent() == {run.run_id}


def test_it_is_told_by_postgres_and_again_after_postgres_was_away(woken: threading.Event) -> None:
    with database() as place:
        url = f"host={place.host} port={place.port} dbname={place.database} user={place.user}"
        with Listener(url, woken, again_seconds=0.1):
            assert woken.wait(10), "what was queued before anybody listened is looked at"
            woken.clear()
            _execute(url, f"NOTIFY {QUEUED}")
            assert woken.wait(10)
            woken.clear()
            _execute(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
            assert woken.wait(10), "a new connection looks at what it missed"
            woken.clear()
            _execute(url, f"NOTIFY {QUEUED}")
            assert woken.wait(10)


def test_without_postgres_it_goes_on_trying_and_ends_when_it_is_told(woken: threading.Event) -> None:
    with Listener("host=/nowhere dbname=none", woken, again_seconds=0.01) as listener:
        assert not woken.wait(0.3)
    assert not listener._thread.is_alive()


def _execute(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        connection.cursor().execute(statement)
    finally:
        connection.close()
