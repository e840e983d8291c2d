"""Argument lists for docker and docker compose, and readers of what they answer. Nothing is executed here."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from operations.deployment import Deployment

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
ONEOFF_LABEL = "com.docker.compose.oneoff"
HASH_LABEL = "com.docker.compose.config-hash"
LOCATION_LABEL = "code-location"
RUN_LABEL = "run-broker.role"
RUN_ID_LABEL = "dagster/run_id"
RUN_ID_LENGTH = 36
WARM = "warm"

Version = tuple[int, int]


def compose(deployment: Deployment, *args: str, last_file: Path | None = None) -> list[str]:
    """A docker compose command on a deployment. Overlays come from COMPOSE_FILE in its .env; one more may follow."""
    files = deployment.settings().get("COMPOSE_FILE", "docker-compose.yml").split(":") if last_file else []
    paths = [*(deployment.root / file for file in files), *([last_file] if last_file else [])]
    return [
        *("docker", "compose", "--project-directory", str(deployment.root)),
        *("--env-file", str(deployment.env_in_force), "--project-name", deployment.name),
        *(part for path in paths for part in ("--file", str(path))),
        *args,
    ]


def compose_of(deployment: Deployment, root: Path, files: Iterable[Path], *args: str) -> list[str]:
    """A docker compose command with this deployment's settings on the files of another tree."""
    return [
        *("docker", "compose", "--project-directory", str(root), "--env-file", str(deployment.env_in_force)),
        *("--project-name", deployment.name, *(part for path in files for part in ("--file", str(path)))),
        *args,
    ]


def config(deployment: Deployment) -> list[str]:
    """Everything resolved: overlays merged, variables filled in."""
    return compose(deployment, "config", "--format", "json")


def build(deployment: Deployment, services: Iterable[str] = ()) -> list[str]:
    """Build images; plain progress is the one that a program can follow."""
    return compose(deployment, "--progress", "plain", "build", *services)


def start(deployment: Deployment, seconds: int, last_file: Path | None = None) -> list[str]:
    """Start what is not running as described. Never --remove-orphans: to Compose, live runs look like orphans."""
    args = ("up", "--detach", "--no-build", "--wait", "--wait-timeout", str(seconds))
    return compose(deployment, "--progress", "plain", *args, last_file=last_file)


def create(deployment: Deployment, services: Iterable[str], last_file: Path | None = None) -> list[str]:
    """Make the networks, volumes and containers of services that have none, and start nothing."""
    args = ("up", "--no-start", "--no-deps", "--no-build", "--no-recreate", *services)
    return compose(deployment, *args, last_file=last_file)


def config_hash(deployment: Deployment, service: str, last_file: Path | None = None) -> list[str]:
    """What Compose compares with the label of a running container to see whether it is still as described."""
    return compose(deployment, "config", "--hash", service, last_file=last_file)


def stop(deployment: Deployment, *, delete_data: bool) -> list[str]:
    """Stop and remove everything, runs included; with the data where that is asked for."""
    extra = ("--volumes", "--rmi", "all") if delete_data else ()
    return compose(deployment, "--progress", "plain", "down", "--remove-orphans", *extra)


def logs(deployment: Deployment, service: str, lines: int = 20) -> list[str]:
    """The last lines of a service's output."""
    return compose(deployment, "logs", "--no-color", "--no-log-prefix", "--tail", str(lines), service)


def logs_since(deployment: Deployment, service: str, since: str) -> list[str]:
    """A service's output of the time, such as 1h, that is still kept."""
    return compose(deployment, "logs", "--no-color", "--no-log-prefix", "--since", since, service)


def execute(deployment: Deployment, service: str, *command: str) -> list[str]:
    """A command in a service's running container."""
    return compose(deployment, "exec", "--no-TTY", service, *command)


def one_off(deployment: Deployment, service: str, *command: str, name: str = "") -> list[str]:
    """A command in a container of its own with all that a service has, which is removed at its end. With a `name`, who
    gives up on it can remove it: the container does not end with the command that started it."""
    named = ("--name", name) if name else ()
    return compose(deployment, "run", "--rm", *named, "--no-deps", "--no-TTY", "--quiet-pull", service, *command)


def swap(deployment: Deployment, service: str, last_file: Path | None = None) -> list[str]:
    """Replace one container by what the files say, and touch no other: without --no-deps dependents start anew."""
    args = ("up", "--detach", "--no-deps", "--no-build", service)
    return compose(deployment, "--progress", "plain", *args, last_file=last_file)


def containers_of(project: str) -> list[str]:
    """Ids of all containers of a project, runs and stopped ones included."""
    return ["docker", "ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={PROJECT_LABEL}={project}"]


def remove(container: str) -> list[str]:
    """Remove a container, running or not."""
    return ["docker", "rm", "--force", "--volumes", container]


def inspect(ids: Iterable[str]) -> list[str]:
    """Everything about some containers."""
    return ["docker", "inspect", "--type", "container", *ids]


def image_id(image: str) -> list[str]:
    """The id of an image; fails where it is not on this machine."""
    return ["docker", "image", "inspect", "--format", "{{.Id}}", image]


def parse_version(text: str) -> Version | None:
    """Major and minor of the first version number in what a tool prints."""
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


@dataclass(frozen=True)
class Container:
    """What the verbs look at in a container."""

    id: str
    name: str
    service: str
    state: str
    health: str
    exit_code: int
    image: str
    labels: dict[str, str] = field(default_factory=dict)
    last_probe: str = ""
    networks: frozenset[str] = frozenset()
    ports: frozenset[tuple[str, int]] = frozenset()
    # In UTC, as the engine writes it; "" where it never was.
    started: str = ""
    created: str = ""
    finished: str = ""
    # How often the engine has started it again since somebody started it.
    restarts: int = 0

    @property
    def is_run(self) -> bool:
        """Whether the broker started it for a run."""
        return self.labels.get(RUN_LABEL) in ("run", WARM) and not self.waits

    @property
    def waits(self) -> bool:
        """Whether the broker keeps it for a run that is still to come. With the run it gets the run's name."""
        return self.labels.get(RUN_LABEL) == WARM and f"-{self.service}-{WARM}-" in self.name

    @property
    def run_id(self) -> str:
        """The run that it is for. A container that waited for its run has it in its name alone."""
        return self.labels.get(RUN_ID_LABEL, "") or self.name[-RUN_ID_LENGTH:]

    @property
    def is_service(self) -> bool:
        """Whether Compose started it as a service: no run, no `compose run`, and not by hand from an image of ours,
        which has the other labels too."""
        return not self.is_run and not self.waits and self.labels.get(ONEOFF_LABEL) == "False"

    @property
    def is_well(self) -> bool:
        """Running and, where it has a health check, healthy; or ended as a one-shot service should."""
        if self.state == "exited":
            return self.exit_code == 0
        return self.state == "running" and self.health in ("", "healthy")


def parse_inspect(text: str) -> list[Container]:
    """Containers from `docker inspect`."""
    return [_container(entry) for entry in json.loads(text or "[]")]


def moment(text: str) -> float | None:
    """Seconds since 1970 of a moment as the engine writes it, with nanoseconds, and the year 1 for never."""
    if not text or text.startswith("0001-"):
        return None
    whole, _, _ = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp()


def _container(entry: dict[str, Any]) -> Container:
    state, labels = entry["State"], entry["Config"].get("Labels") or {}
    health = state.get("Health") or {}
    probes = health.get("Log") or []
    network = entry.get("NetworkSettings") or {}
    published = network.get("Ports") or {}
    return Container(
        id=entry["Id"],
        name=entry["Name"].lstrip("/"),
        service=labels.get(SERVICE_LABEL, ""),
        state=state["Status"],
        health=health.get("Status", ""),
        exit_code=state.get("ExitCode", 0),
        image=entry["Config"]["Image"],
        labels=labels,
        last_probe=(probes[-1].get("Output", "").strip() if probes else ""),
        networks=frozenset(network.get("Networks") or ()),
        ports=frozenset((to["HostIp"], int(to["HostPort"])) for tos in published.values() for to in tos or ()),
        started=state.get("StartedAt", ""),
        created=entry.get("Created", ""),
        finished=state.get("FinishedAt", ""),
        restarts=entry.get("RestartCount", 0),
    )
