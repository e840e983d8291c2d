"""Which of the daemon's loops are Dagster's own."""

import threading

from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.daemon import BackfillDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from daemon import loops
from daemon.backfills import PromptBackfillDaemon
from daemon.launches import Launches
from daemon.retries import RetryDaemon
from daemon.run_queue import WokenQueueDaemon


class Instance:
    def get_backfill_settings(self):
        return {"use_threads": True, "num_workers": 2}


def test_only_the_queue_the_retries_and_the_backfills_are_others_than_dagsters(monkeypatch):
    other = object()
    made = [QueuedRunCoordinatorDaemon(3), EventLogConsumerDaemon(7), BackfillDaemon({}), other]
    monkeypatch.setattr("daemon.loops.create_daemons_from_instance", lambda _: made)
    queue, retries, backfills, same = loops.maker(threading.Event(), launches := Launches())(Instance())
    assert type(backfills) is PromptBackfillDaemon
    assert backfills._threadpool_executor._max_workers == 2
    assert (type(queue), queue.interval_seconds) == (WokenQueueDaemon, 3)
    assert queue._launches is launches
    # The name under which Dagster looks for its heartbeat.
    assert (type(retries), retries.interval_seconds) == (RetryDaemon, 7)
    assert retries.daemon_type() == EventLogConsumerDaemon.daemon_type()
    assert same is other
