"""The deployment's instance: Dagster's own, but what it tells others of itself is trimmed."""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef

from run_launcher import automation
from run_launcher.references import location_reference


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

    def get_required_daemon_types(self) -> Sequence[str]:
        """Which daemons run, and must be well: the daemon, its health, the UI and the alerts all ask here."""
        required = super().get_required_daemon_types()
        return automation.without_launching(required) if automation.is_off() else required
