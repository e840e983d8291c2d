"""Who the broker is, and how its runs are told from every other container."""

import re
from dataclasses import dataclass, field

from run_broker.create_request import LOCATION_LABEL, RUN_ID_LABEL, is_location_name, is_run_id
from run_broker.engine import Engine
from run_broker.engine_views import Container

ROLE_LABEL = "run-broker.role"
ROLE = "run"
IMAGE_LABEL = "run-broker.image"
SANDBOX_LABEL = "run-broker.sandbox"
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
ONEOFF_LABEL = "com.docker.compose.oneoff"
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)


class IdentityError(Exception):
    """The broker cannot tell which project it serves."""


@dataclass(frozen=True)
class Identity:
    """The Compose project the broker serves, and what it has mounted itself: no run may have any of that."""

    project: str
    own_mounts: frozenset[str] = field(default_factory=frozenset)

    def container_name(self, location: str, run_id: str) -> str:
        """The name of a run's container."""
        return f"{self.project}-{location}-run-{run_id}"

    def run_labels(self) -> dict[str, str]:
        """The labels by which the engine lists this project's runs."""
        return {PROJECT_LABEL: self.project, ROLE_LABEL: ROLE}

    def owns(self, name: str, labels: dict[str, str]) -> bool:
        """Whether a container is a run of this project.

        Labels alone could come from an image; the one-off mark is always written by Compose, and the name by whoever
        creates the container.
        """
        location, run_id = labels.get(LOCATION_LABEL, ""), labels.get(RUN_ID_LABEL, "")
        return (
            labels.get(ROLE_LABEL) == ROLE
            and labels.get(PROJECT_LABEL) == self.project
            and labels.get(ONEOFF_LABEL) == "True"
            and is_location_name(location)
            and is_run_id(run_id)
            and name.removeprefix("/") == self.container_name(location, run_id)
        )


def find_identity(engine: Engine, project: str, container: str) -> Identity:
    """The identity from the settings' project, or from the broker's own container."""
    found = None if project else engine.inspect(container)
    if not project and found is None:
        raise IdentityError(f"the engine knows no container {container!r}; set PROJECT when running outside Compose")
    name = project or (found.config.labels.get(PROJECT_LABEL, "") if found else "")
    if _PROJECT.fullmatch(name) is None:
        raise IdentityError(f"{name!r} is not the name of a Compose project")
    return Identity(name, _mounted(found) if found else frozenset())


def _mounted(container: Container) -> frozenset[str]:
    """The host paths and volumes of a container, by whatever name a mount can give them."""
    return frozenset(text for mount in container.mounts for text in (mount.source.rstrip("/"), mount.name) if text)
