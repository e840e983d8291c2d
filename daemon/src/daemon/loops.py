"""The loops that Dagster's daemon runs, three of them in our own form."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from dagster import DagsterInstance
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.controller import create_daemons_from_instance
from dagster._daemon.daemon import BackfillDaemon, DagsterDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from daemon.backfills import PromptBackfillDaemon
from daemon.launches import Launches
from daemon.retries import RetryDaemon
from daemon.run_queue import WokenQueueDaemon


def maker(woken: threading.Event, launches: Launches) -> Callable[[DagsterInstance], Iterator[DagsterDaemon[Any]]]:
    """What makes all that the instance needs: the queue's can be woken, the retries' waits for locations, the
    backfills' looks more often."""

    def make(instance: DagsterInstance) -> Iterator[DagsterDaemon[Any]]:
        for daemon in create_daemons_from_instance(instance):
            if isinstance(daemon, QueuedRunCoordinatorDaemon):
                yield WokenQueueDaemon(daemon.interval_seconds, woken, launches)
            elif isinstance(daemon, EventLogConsumerDaemon):
                yield RetryDaemon(daemon.interval_seconds)
            elif isinstance(daemon, BackfillDaemon):
                yield PromptBackfillDaemon(instance.get_backfill_settings())
            else:
                yield daemon

    return make
