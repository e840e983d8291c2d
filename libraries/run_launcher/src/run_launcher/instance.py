"""The deployment's instance: Dagster's own, but what it tells others of itself is trimmed, and late runs are ended."""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import DagsterInstance, DagsterRun
from dagster._core.events import DagsterEvent, JobFailureData, RunFailureReason
from dagster._core.instance.ref import InstanceRef

from run_launcher import automation
from run_launcher.launcher import BrokeredRunLauncher
from run_launcher.references import location_reference

BEGUN = "The run took too long to start; meanwhile it has begun, or told its own end, which stands."


class DeploymentInstance(DagsterInstance):
    """The instance in webserver and daemon. Named as `instance_class` in dagster.yaml."""

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """It has no settings of its own beside Dagster's."""
        return {}

    @staticmethod
    def config_defaults(base_dir: str) -> Mapping[str, Any]:
        """Dagster's own defaults."""
        return InstanceRef.config_defaults(base_dir)

    def get_ref(self) -> InstanceRef:
        """How another process opens this instance. In webserver and daemon that process is always a location's."""
        return location_reference(super().get_ref())

    def report_run_failed(
        self, dagster_run: DagsterRun, message: str | None = None, job_failure_data: JobFailureData | None = None
    ) -> DagsterEvent:
        """Fail a run from outside; one that took too long to start is ended before, or left alone if it has begun.

        Run monitoring decides by a record that it read a while ago, and stops nothing.
        """
        late = job_failure_data is not None and job_failure_data.failure_reason == RunFailureReason.START_TIMEOUT
        launcher = self.run_launcher
        if late and isinstance(launcher, BrokeredRunLauncher) and not launcher.end_before_start(dagster_run.run_id):
            return self.report_engine_event(BEGUN, dagster_run, cls=type(launcher))
        return super().report_run_failed(dagster_run, message, job_failure_data)

    def get_required_daemon_types(self) -> Sequence[str]:
        """Which daemons run, and must be well: the daemon, its health, the UI and the alerts all ask here."""
        required = super().get_required_daemon_types()
        return automation.without_launching(required) if automation.is_off() else required
