"""Retries of runs that failed, which wait while what they need is away.

Dagster gives a retry up for good when the location's code server does not answer at the moment of its only attempt:
after a power failure, when runs are found dead before the code servers are up, or in the middle of a release.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.errors import DagsterCodeLocationLoadError, DagsterUserCodeUnreachableError
from dagster._core.events import EngineEventData
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG
from dagster._core.workspace.context import IWorkspaceProcessContext
from dagster._daemon.auto_run_reexecution.auto_run_reexecution import retry_run, should_retry
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
from dagster._daemon.daemon import DaemonIterator
from dagster._daemon.utils import DaemonErrorCapture
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import InterfaceError, OperationalError

# A statement that broke off; a connection that could not be had for ten seconds.
DATABASE_AWAY = (OperationalError, InterfaceError, DagsterPostgresException)
AWAY = (DagsterUserCodeUnreachableError, DagsterCodeLocationLoadError, *DATABASE_AWAY)
# Longer than any start or release; what does not load for an hour is a person's to mend, and to launch again.
PATIENCE_SECONDS = 3600.0
# A run's last event is stored before its record says how it ended, and whether it is to be retried: after seconds, on a
# machine under load. A process that dies in between is found sooner than this, and the run is told its end again.
RECORD_SECONDS = 120.0
# Dagster goes on from event to event by their numbers, and passes over one that was stored after one with a higher
# number was read. So what has no retry is looked for as well: at the start among the failed runs of a day, which
# the daemon before this one may not have come to, and then of the last minutes.
LOOK_BACK_SECONDS = 60.0
_AT_FIRST, _LATER = timedelta(days=1), timedelta(minutes=15)
Context = IWorkspaceProcessContext[Any]


class RetryDaemon(EventLogConsumerDaemon):
    """Dagster's retries, each tried again at every interval until its location answers."""

    def __init__(self, interval_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(int(interval_seconds))
        self._clock = clock
        self._since: dict[str, float] = {}
        """When each run that has no retry yet was first taken up."""
        self._looked_back: float | None = None
        self._told: set[str] = set()

    @property
    def handle_updated_runs_fns(self) -> list[Callable[..., Iterator[None]]]:
        """What Dagster does with runs that have just ended: here they are only noted."""
        return [self._note]

    def run_iteration(self, workspace_process_context: Context) -> DaemonIterator:
        """Note the runs that ended since the last look, then try what has no retry yet."""
        instance = workspace_process_context.instance
        self._look_back(instance)
        yield from super().run_iteration(workspace_process_context)
        for run_id in list(self._since):
            yield None
            if self._is_settled(workspace_process_context, run_id):
                del self._since[run_id]
                self._told.discard(run_id)

    def _look_back(self, instance: DagsterInstance) -> None:
        now, before = self._clock(), self._looked_back
        if before is None or now - before >= LOOK_BACK_SECONDS:
            for run_id in _without_retry(instance, _AT_FIRST if before is None else _LATER):
                self._since.setdefault(run_id, now)
            self._looked_back = now

    def _note(self, _context: Context, records: Iterable[Any], _logger: object) -> Iterator[None]:
        for record in records:
            self._since.setdefault(record.dagster_run.run_id, self._clock())
        yield None

    def _is_settled(self, context: Context, run_id: str) -> bool:
        """Whether nothing is to be done for this run any more: it has its retry, or none is due."""
        instance = context.instance
        run = None
        try:
            run = instance.get_run_by_id(run_id)
            if run and not _is_recorded(run) and self._clock() - self._since[run_id] < RECORD_SECONDS:
                return False
            if run and should_retry(run, instance):
                retry_run(run, context)
            return True
        except AWAY as error:
            if self._clock() - self._since[run_id] < PATIENCE_SECONDS:
                self._tell(instance, run, error)
                return False
            self._give_up(instance, run)
            return True
        except Exception:
            self._give_up(instance, run)
            return True

    def _tell(self, instance: DagsterInstance, run: DagsterRun | None, error: Exception) -> None:
        if run is None or run.run_id in self._told or isinstance(error, DATABASE_AWAY):
            return
        self._told.add(run.run_id)
        location = run.remote_job_origin.location_name if run.remote_job_origin else "its location"
        minutes = PATIENCE_SECONDS / 60
        message = f"The retry of this run waits until the code server of {location} answers, for {minutes:g} minutes."
        self._logger.warning("%s (run %s: %s)", message, run.run_id, type(error).__name__)
        instance.report_engine_event(message, run, cls=type(self))

    def _give_up(self, instance: DagsterInstance, run: DagsterRun | None) -> None:
        told = f"Failed to retry run {run.run_id if run else ''}"
        info = DaemonErrorCapture.process_exception(sys.exc_info(), logger=self._logger, log_message=told)
        if run:
            instance.report_engine_event("Failed to retry run", run, engine_event_data=EngineEventData(error=info))
            # As Dagster does: nobody waits for a retry that will not come, a backfill for one.
            instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "false"})


def _is_recorded(run: DagsterRun) -> bool:
    """Whether a run's record says all of its end. Pure."""
    return run.is_finished and (run.status != DagsterRunStatus.FAILURE or WILL_RETRY_TAG in run.tags)


def _without_retry(instance: DagsterInstance, within: timedelta) -> list[str]:
    """Runs that failed within this time, and are to be retried, and were not."""
    due = RunsFilter(
        statuses=[DagsterRunStatus.FAILURE],
        tags={WILL_RETRY_TAG: "true"},
        updated_after=datetime.now(UTC) - within,
    )
    found = []
    for run in instance.get_runs(due):
        retry = run.tags.get(AUTO_RETRY_RUN_ID_TAG)
        # A retry that somebody deleted is not made again; one that was made and not submitted is submitted.
        made = instance.get_run_by_id(retry) if retry else None
        if not retry or (made and made.status == DagsterRunStatus.NOT_STARTED):
            found.append(run.run_id)
    return found
