"""Compares run containers with runs, and ends what only one of them believes in.

Dagster looks at a run's container only while the run is STARTED. So a container goes on when its run was marked failed
or canceled while the broker was away; a run whose container died before its first event waits for its timeout; and so
does one whose launch ended with the daemon that was about to make its container.
"""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.storage.dagster_run import DagsterRun

from daemon.launches import Launches
from run_launcher.broker import Broker, BrokerRefusalError, BrokerUnavailableError, RunContainer, is_live, was_started
from run_launcher.endings import OUT_OF_MEMORY, memory_advice, was_out_of_memory
from run_launcher.launcher import BrokeredRunLauncher

GRACE_SECONDS = 60.0
INTERRUPTED = (
    "The daemon, or its database, went away in the middle of this run's launch. The run goes back to the queue."
)
# Runs that failed this long ago have had their look, several times over.
_RECENT = timedelta(minutes=10)
_logger = logging.getLogger("dagster.daemon.sweep")


class Sweep:
    """One deployment's comparison; remembers since when a container has been left over."""

    def __init__(
        self,
        instance: DagsterInstance,
        launches: Launches,
        grace_seconds: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not isinstance(instance.run_launcher, BrokeredRunLauncher):
            raise TypeError(f"dagster.yaml names {type(instance.run_launcher).__name__}; the sweep needs the broker's")
        self._instance = instance
        self._launches = launches
        self._launcher: BrokeredRunLauncher = instance.run_launcher
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._left_over_since: dict[str, float] = {}
        self._looked_at: set[str] = set()

    @property
    def _broker(self) -> Broker:
        return self._launcher.broker

    def once(self) -> None:
        """Compare and act once. Raises `BrokerUnavailableError` while the broker is away."""
        containers = self._broker.runs()
        self._take_up_launches()
        self._stop_left_over(containers)
        self._end_runs_without_process({container.id for container in containers if container.live})
        self._explain_lack_of_memory()

    def _take_up_launches(self) -> None:
        """Put back into the queue what is STARTING, though nobody launches it any more and its container never ran."""
        starting = self._instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTING]))
        # Asked after the runs: what has begun or ended in between is among them.
        launched = self._launches.recent()
        for run in starting:
            # Without an origin it never was in the queue.
            if run.run_id in launched or run.remote_job_origin is None:
                continue
            attributes = self._launcher.container_of(run)
            if attributes is not None and was_started(attributes):
                continue
            current = self._instance.get_run_by_id(run.run_id)
            if current and current.status == DagsterRunStatus.STARTING:
                self._instance.report_engine_event(INTERRUPTED, run, cls=type(self._launcher))
                self._instance.report_dagster_event(DagsterEvent.job_enqueue(run), run_id=run.run_id)

    def _stop_left_over(self, containers: Iterable[RunContainer]) -> None:
        live = [container for container in containers if container.live]
        runs = self._runs({container.run_id for container in live})
        left_over = [container for container in live if is_left_over(runs.get(container.run_id))]
        now = self._clock()
        self._left_over_since = {one.id: self._left_over_since.get(one.id, now) for one in left_over}
        for container in left_over:
            # A run's process takes a moment to end after its last event.
            if now - self._left_over_since[container.id] >= self._grace_seconds:
                self._stop(container, runs.get(container.run_id))

    def _stop(self, container: RunContainer, run: DagsterRun | None) -> None:
        status = f"had ended as {run.status.value}" if run else "is not known to this deployment"
        message = f"Stopped the container {container.id[:12]}, which went on although its run {status}."
        try:
            self._broker.stop(container.id)
        except BrokerRefusalError as error:
            _logger.warning("%s of %s was not stopped: %s", container.id[:12], container.run_id, error)
            return
        _logger.warning("%s (run %s of %s)", message, container.run_id, container.location)
        if run:
            self._instance.report_engine_event(message, run, cls=self.__class__)

    def _end_runs_without_process(self, live: set[str]) -> None:
        waiting = RunsFilter(statuses=[DagsterRunStatus.STARTING, DagsterRunStatus.CANCELING])
        for run in self._instance.get_runs(waiting):
            attributes = self._launcher.container_of(run)
            if attributes is None or attributes["Id"] in live or is_live(attributes) or not was_started(attributes):
                continue
            explanation = self._launcher.explain(attributes)
            # Read again: the process may have written its last events between the two looks.
            current = self._instance.get_run_by_id(run.run_id)
            if current and current.status == DagsterRunStatus.STARTING:
                self._instance.report_run_failed(current, explanation)
            elif current and current.status == DagsterRunStatus.CANCELING:
                self._instance.report_run_canceled(current, "Canceled: the run's container has ended.")

    def _explain_lack_of_memory(self) -> None:
        """Tell runs that failed by themselves, because only one of their processes was killed, what killed it."""
        since = datetime.now(UTC) - _RECENT
        failed = self._instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=since))
        self._looked_at &= {run.run_id for run in failed}
        for run in failed:
            attributes = self._launcher.container_of(run) if run.run_id not in self._looked_at else None
            if attributes is not None and is_live(attributes):
                continue
            self._looked_at.add(run.run_id)
            if attributes is not None and was_out_of_memory(attributes) and not self._was_told(run):
                message = f"A process of this run was killed because its container ran {OUT_OF_MEMORY}. "
                self._instance.report_engine_event(message + memory_advice(attributes), run, cls=self.__class__)

    def _was_told(self, run: DagsterRun) -> bool:
        kinds = {DagsterEventType.ENGINE_EVENT, DagsterEventType.RUN_FAILURE}
        return any(OUT_OF_MEMORY in event.message for event in self._instance.all_logs(run.run_id, of_type=kinds))

    def _runs(self, run_ids: set[str]) -> dict[str, DagsterRun]:
        if not run_ids:
            return {}
        return {run.run_id: run for run in self._instance.get_runs(RunsFilter(run_ids=sorted(run_ids)))}


def is_left_over(run: DagsterRun | None) -> bool:
    """Whether nothing wants this run's container any more: the run has ended, or there is none. Pure."""
    return run is None or run.is_finished


def sweep_once_safely(sweep: Sweep) -> None:
    """One sweep whose failure is a line in the log: the next one may succeed."""
    try:
        sweep.once()
    except BrokerUnavailableError as error:
        _logger.warning("%s", error)
    except Exception:
        _logger.exception("The sweep of run containers failed; it is tried again")
