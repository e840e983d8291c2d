"""Where one developer's deployment is, and what each of its processes finds in its environment."""

import getpass
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from operations import environment_file

# One run at a time. A lake's catalog is a file here, open for writing in one process at a time: a second run that
# writes what the first one reads would wait for it, and dbt does not wait. So two runs that are launched at once are
# both done, one after the other. A run that meets a code server that is just being replaced is tried again.
DAGSTER_YAML = """\
# Made by ./stack dev at each start; not for editing.
run_coordinator:
  module: dagster.core.run_coordinator
  class: QueuedRunCoordinator
  config:
    max_concurrent_runs: 1
    dequeue_interval_seconds: 1
    max_user_code_failure_retries: 5
    user_code_failure_retry_delay: 2
telemetry: {enabled: false}
nux: {enabled: false}
"""
# What makes code believe that it runs in a deployment, or in another location, and Python in another environment.
DROPPED = re.compile(r"DEPLOYMENT|CODE_LOCATION.*|POSTGRES_.*|DAGSTER_.*|LAKE_ROOT|PYTHONPATH|PYTHONHOME|VIRTUAL_ENV")


@dataclass(frozen=True)
class Places:
    """The folders of one developer: two developers share none."""

    root: Path
    developer: str

    @property
    def home(self) -> Path:
        """All of it: delete it to begin anew."""
        return self.root / ".stack" / "dev" / self.developer

    @property
    def dagster_home(self) -> Path:
        """Dagster's runs, events and compute logs, in SQLite and files."""
        return self.home / "dagster"

    @property
    def lake(self) -> Path:
        """The lakes: a catalog file and a folder a location."""
        return self.home / "lake"

    @property
    def logs(self) -> Path:
        """What each process prints."""
        return self.home / "logs"

    @property
    def sample(self) -> Path:
        """The sample source's tables."""
        return self.home / "sample"

    def make(self) -> None:
        """The folders, and Dagster's settings."""
        for folder in (self.dagster_home, self.lake, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        (self.dagster_home / "dagster.yaml").write_text(DAGSTER_YAML, encoding="utf-8")

    def environment(self, paths: list[Path], more: Mapping[str, str]) -> dict[str, str]:
        """The whole environment of a process that finds its sources in `paths`."""
        kept = {name: value for name, value in os.environ.items() if not DROPPED.fullmatch(name)}
        return {
            **kept,
            "DEVELOPER": self.developer,
            "LAKE_ROOT": str(self.lake),
            "DAGSTER_HOME": str(self.dagster_home),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "DAGSTER_EVENT_BATCH_SIZE": "100",
            # As `dagster dev` says it: components that keep state refresh it when they load.
            "DAGSTER_IS_DEV_CLI": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": ":".join(map(str, paths)),
            **more,
        }


def developer() -> str:
    """Whose deployment this is: DEVELOPER, else the login name, as platform_kit.environment has it."""
    try:
        name = os.environ.get("DEVELOPER") or getpass.getuser()
    except (KeyError, OSError):
        name = f"user{os.getuid()}"
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "developer"


def own_settings(folder: Path) -> dict[str, str]:
    """A location's own .env, as Dagster reads it: settings and secrets of the developer, never committed."""
    path = folder / ".env"
    if not path.is_file():
        return {}
    settings = environment_file.parse(path.read_text(encoding="utf-8"), str(path))
    return {key: setting.value for key, setting in settings.items()}
