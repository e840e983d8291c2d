"""Which of the daemon's loops are Dagster's own."""

import threading

from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from daemon import loops
from daemon.launches import Launches
from daemon.retries import RetryDaemon
from daemon.run_queue import WokenQueueDaemon


def test_only_the_queue_and_the_retries_are_others_than_dagsters(monkeypatch):
    other = object()
    made = [QueuedRunCoordinatorDaemon(3), EventLogConsumerDaemon(7), other]
    monkeypatch.setattr("daemon.loops.create_daemons_from_instance", lambda _: made)
    queue, retries, same = loops.maker(threading.Event(), launches := Launches())(None)
    assert (type(queue), queue.interval_seconds) == (WokenQueueDaemon, 3)
    assert queue._launches is launches
    # The name under which Dagster looks for its heartbeat.
    assert (type(retries), retries.interval_seconds) == (RetryDaemon, 7)
    assert retries.daemon_type() == EventLogConsumerDaemon.daemon_type()
    assert same is other
