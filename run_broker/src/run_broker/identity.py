"""Who the broker is, and how its runs are told from every other container."""

import re
from dataclasses import dataclass, field

from run_broker.create_request import LOCATION_LABEL, RUN_ID_LABEL, is_location_name, is_run_id
from run_broker.engine import Engine
from run_broker.engine_views import Container

ROLE_LABEL = "run-broker.role"
ROLE = "run"
# A container that waits for a run of its location, and becomes that run's.
WARM_ROLE = "warm"
IMAGE_LABEL = "run-broker.image"
SANDBOX_LABEL = "run-broker.sandbox"
WARM_LABEL = "run-broker.warm"
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
ONEOFF_LABEL = "com.docker.compose.oneoff"
RUN_ID_LENGTH = 36
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

    def claimed_name(self, location: str, run_id: str) -> str:
        """The name of a warm container that is a run's, and was not told to start it yet."""
        return f"{self.project}-{location}-claimed-{run_id}"

    def warm_name(self, location: str, slug: str) -> str:
        """The name of a warm container that waits."""
        return f"{self.project}-{location}-warm-{slug}"

    def run_labels(self, role: str = ROLE) -> dict[str, str]:
        """The labels by which the engine lists this project's runs of one kind."""
        return {PROJECT_LABEL: self.project, ROLE_LABEL: role}

    def owns(self, name: str, labels: dict[str, str]) -> bool:
        """Whether a container is a run of this project."""
        return bool(self.run_of(name, labels))

    def run_of(self, name: str, labels: dict[str, str]) -> str:
        """The run whose container this is; empty for whatever is none of this project.

        Labels alone could come from an image; the one-off mark is always written by Compose, and the name by whoever
        creates the container. A warm one's labels are older than its run: there the name alone tells, which the engine
        gives to one container at a time.
        """
        location, name = labels.get(LOCATION_LABEL, ""), name.removeprefix("/")
        if labels.get(ROLE_LABEL) not in (ROLE, WARM_ROLE) or not self._made_here(location, labels):
            return ""
        if labels[ROLE_LABEL] == ROLE:
            run_id = labels.get(RUN_ID_LABEL, "")
            return run_id if is_run_id(run_id) and name == self.container_name(location, run_id) else ""
        run_id = name[-RUN_ID_LENGTH:]
        names = (self.container_name(location, run_id), self.claimed_name(location, run_id))
        return run_id if is_run_id(run_id) and name in names else ""

    def is_claimed(self, name: str, labels: dict[str, str]) -> bool:
        """Whether a container is a run's that it was not told to start yet."""
        run_id = self.run_of(name, labels)
        return bool(run_id) and name.removeprefix("/") == self.claimed_name(labels[LOCATION_LABEL], run_id)

    def waits(self, name: str, labels: dict[str, str]) -> bool:
        """Whether a container is a warm one of this project that no run has."""
        location, name = labels.get(LOCATION_LABEL, ""), name.removeprefix("/")
        slug = name[-RUN_ID_LENGTH:]
        return (
            labels.get(ROLE_LABEL) == WARM_ROLE
            and self._made_here(location, labels)
            and is_run_id(slug)
            and name == self.warm_name(location, slug)
        )

    def _made_here(self, location: str, labels: dict[str, str]) -> bool:
        return (
            labels.get(PROJECT_LABEL) == self.project
            and labels.get(ONEOFF_LABEL) == "True"
            and is_location_name(location)
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
