"""What the daemon's process reads from its environment; nothing else here does."""

import os
from pathlib import Path

WORKSPACE = Path("/opt/dagster/workspace.yaml")
# On the container's own tmpfs: it must not outlive the process that it tells of.
HEALTH_FILE = Path("/tmp/daemon-health.json")  # noqa: S108
# Beside it, and for the same time: what is loaded.
LOCATIONS_FILE = Path("/tmp/daemon-locations.json")  # noqa: S108
TOLERANCE_VARIABLE = "DAGSTER_DAEMON_HEARTBEAT_TOLERANCE"
# Dagster's own default of 30 minutes is long for a daemon that is not there. A loop may wait a minute for the broker.
DEFAULT_TOLERANCE_SECONDS = 300


def heartbeat_tolerance() -> int:
    """How old a heartbeat may be, in seconds. Dagster reads the same variable, so it is set for it as well."""
    return int(os.environ.setdefault(TOLERANCE_VARIABLE, str(DEFAULT_TOLERANCE_SECONDS)))
