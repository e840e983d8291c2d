"""The queue, looked at when a run is put into it: the interval alone would be half of what a short run waits."""

import contextlib
import logging
import select
import sys
import threading
import time
from typing import Any

import psycopg2
import psycopg2.extensions
from dagster import DagsterInstance, DagsterRun
from dagster._core.workspace.context import BaseWorkspaceRequestContext, IWorkspaceProcessContext
from dagster._daemon.daemon import DaemonIterator, SpanMarker
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._utils.error import serializable_error_info_from_exc_info

from daemon.launches import Launches
from run_launcher.coordinator import QUEUED

# Whoever may connect to the database may wake the daemon: so often at most, in seconds.
LEAST_PAUSE = 0.1
# How soon the loop sees that the daemon is to end.
SLICE = 0.5
AGAIN_SECONDS = 5.0
_logger = logging.getLogger("dagster.daemon.QueuedRunCoordinatorDaemon")


class WokenQueueDaemon(QueuedRunCoordinatorDaemon):
    """Dagster's queue, looked at each interval, and at once when `woken` is set; says what it launches."""

    def __init__(self, interval_seconds: float, woken: threading.Event, launches: Launches) -> None:
        super().__init__(interval_seconds)
        self._woken = woken
        self._launches = launches

    def core_loop(
        self, workspace_process_context: IWorkspaceProcessContext[Any], shutdown_event: threading.Event
    ) -> DaemonIterator:
        """Dagster's own loop, but for how it waits."""
        while True:
            self._woken.clear()
            began = time.monotonic()
            yield SpanMarker.START_SPAN
            try:
                yield from self.run_iteration(workspace_process_context)
            except Exception:
                error = serializable_error_info_from_exc_info(sys.exc_info())
                self._logger.error("Caught error:\n%s", error)
                yield error
            yield SpanMarker.END_SPAN
            shutdown_event.wait(max(0.0, began + LEAST_PAUSE - time.monotonic()))
            while (rest := began + self.interval_seconds - time.monotonic()) > 0 and not self._woken.is_set():
                self._woken.wait(min(SLICE, rest))
                yield None
            yield None

    def _dequeue_run(
        self,
        instance: DagsterInstance,
        workspace: BaseWorkspaceRequestContext,
        run: DagsterRun,
        *rest: Any,
        **more: Any,
    ) -> bool:
        with self._launches.of(run.run_id):
            return super()._dequeue_run(instance, workspace, run, *rest, **more)


class Listener:
    """Sets `woken` when Postgres says that a run was queued. Whatever happens to it, no more is lost than a moment."""

    def __init__(self, url: str, woken: threading.Event, again_seconds: float = AGAIN_SECONDS) -> None:
        self._url, self._woken, self._again = url, woken, again_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="queue-listener", daemon=True)

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2 * SLICE)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with contextlib.closing(psycopg2.connect(self._url, connect_timeout=10)) as connection:
                    self._listen(connection)
            except psycopg2.Error as error:
                _logger.warning("The queue is looked at each interval alone, for the database is away: %s", error)
                self._stop.wait(self._again)

    def _listen(self, connection: psycopg2.extensions.connection) -> None:
        connection.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {QUEUED}")
        # What came while nobody listened.
        self._woken.set()
        while not self._stop.is_set():
            if select.select([connection], [], [], SLICE)[0]:
                connection.poll()
                connection.notifies.clear()
                self._woken.set()
