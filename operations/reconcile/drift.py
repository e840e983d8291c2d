"""What runs, compared with what the files say: found without asking anybody but Compose and the engine."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operations import docker, live_networks
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.reconcile import mounts, settings
from operations.reconcile.memory import Records
from operations.reconcile.mounts import Mounted

POSTGRES = live_networks.POSTGRES


@dataclass(frozen=True)
class Difference:
    """One thing that is not as the files say."""

    subject: str
    kind: str
    detail: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.subject} {self.detail}"


@dataclass(frozen=True)
class Wanted:
    """A deployment as a tree of the repository describes it, for containers of this checkout."""

    services: Mapping[str, Mapping[str, Any]]
    hashes: Mapping[str, str]
    tree: Path


@dataclass(frozen=True)
class Running:
    """A container of a service, with what only the engine knows of it."""

    container: docker.Container
    image: str
    started_at: str


@dataclass
class Found:
    """What there is: containers of services, and the images that names lead to at the moment."""

    running: dict[str, Running] = field(default_factory=dict)
    others: list[docker.Container] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)


def wanted(context: Context) -> Wanted:
    """What the files of the checkout say."""
    printed = context.executor.run(docker.compose(context.deployment, "config", "--hash", "*"), timeout=60).stdout
    return Wanted(context.config["services"], _hashes(printed), context.deployment.root)


def wanted_of(context: Context, candidate: Deployment) -> Wanted:
    """What the files of another tree say, were they here: paths count from this checkout."""
    files = candidate.settings().get("COMPOSE_FILE", "docker-compose.yml").split(":")
    command = [
        *("docker", "compose", "--project-directory", str(context.deployment.root)),
        *("--env-file", str(candidate.env_file), "--project-name", candidate.name),
        *(part for file in files for part in ("--file", str(candidate.root / file))),
        "config",
    ]
    resolved = context.executor.run([*command, "--format", "json"], timeout=60, check=False)
    if not resolved.ok:
        raise StackError(
            f"Compose refuses the commit: {resolved.last_words}",
            "docker-compose.yml, its overlays and settings to make one valid description",
            "correct it in the repository",
        )
    printed = context.executor.run([*command, "--hash", "*"], timeout=60).stdout
    return Wanted(json.loads(resolved.stdout)["services"], _hashes(printed), candidate.root)


def _hashes(printed: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in printed.splitlines() if " " in line)


def find(context: Context, services: Mapping[str, Mapping[str, Any]]) -> Found:
    """Containers of services, and ids of the images that services name."""
    found = Found(images=image_ids(context, (str(spec["image"]) for spec in services.values() if "image" in spec)))
    ids = context.executor.run(docker.containers_of(context.deployment.name)).stdout.split()
    text = context.executor.run(docker.inspect(ids), check=False).stdout if ids else "[]"
    for container, entry in zip(docker.parse_inspect(text), json.loads(text or "[]"), strict=True):
        if not container.is_service:
            continue
        if container.service in services:
            one = Running(container, entry.get("Image", ""), entry["State"].get("StartedAt", ""))
            found.running[container.service] = one
        else:
            found.others.append(container)
    return found


def image_ids(context: Context, references: Iterable[str]) -> dict[str, str]:
    """Which image each name leads to; names that lead nowhere are left out."""
    names = sorted(set(references))
    if not names:
        return {}
    printed = context.executor.run(["docker", "image", "inspect", *names], check=False, timeout=60).stdout
    ids = {}
    for entry in json.loads(printed or "[]"):
        for name in (*(entry.get("RepoTags") or ()), *(entry.get("RepoDigests") or ())):
            ids[name] = entry["Id"]
    return {name: ids[name] for name in names if name in ids}


def is_one_shot(spec: Mapping[str, Any]) -> bool:
    """Whether a service ends by itself."""
    return spec.get("restart") in (None, "no")


def compare(context: Context, files: Wanted, found: Found) -> list[Difference]:
    """All that differs, in the order of the Compose file."""
    record = mounts.Record(Records(context.deployment).mounted)
    differences = []
    for name, spec in files.services.items():
        running = found.running.get(name)
        if running is None:
            differences.append(Difference(name, "missing", "has no container"))
        else:
            differences += _of_service(context, files, name, spec, running, found, record)
    for container in found.others:
        differences.append(Difference(container.service, "departed", "runs, and no file names it"))
    return differences


def _of_service(
    context: Context,
    files: Wanted,
    name: str,
    spec: Mapping[str, Any],
    running: Running,
    found: Found,
    record: mounts.Record,
) -> list[Difference]:
    differences = []
    container = running.container
    if state := _state(spec, container):
        differences.append(Difference(name, "state", state))
    if container.labels.get(docker.HASH_LABEL) != files.hashes.get(name) and not _is_kept(context, files, name):
        differences.append(Difference(name, "description", "was made from another description than the files have"))
    image = found.images.get(str(spec.get("image", "")))
    if image and running.image and image != running.image:
        differences.append(Difference(name, "image", f"runs another image than {spec['image']} is now"))
    for each in mounted(context, name, spec):
        path = files.tree / each.path.relative_to(context.deployment.root)
        if record.differs(each, path, container.id, running.started_at):
            shown = context.deployment.shown(each.path)
            differences.append(Difference(name, "mounted", f"has not read {shown} as it is now"))
    return differences


def _state(spec: Mapping[str, Any], container: docker.Container) -> str:
    if container.state == "running" or (is_one_shot(spec) and container.is_well):
        return ""
    return f"has exited with {container.exit_code}" if container.state == "exited" else f"is {container.state}"


def _is_kept(context: Context, files: Wanted, name: str) -> bool:
    # Networks come and go on the running database; to Compose it would be another one.
    return name == POSTGRES and files.tree == context.deployment.root and live_networks.is_as_made(context)


def mounted(context: Context, name: str, spec: Mapping[str, Any]) -> list[Mounted]:
    """What a service mounts of this checkout."""
    return mounts.of_service(name, spec, context.deployment.root, context.deployment.secrets())


def of_settings(deployment: Deployment) -> list[Difference]:
    """Where .env is not what the repository's settings say."""
    named = settings.raw(deployment).get(settings.SETTING, "")
    if not (deployment.root / named).is_file():
        # None named, or one that a later commit brings.
        return []
    changes = settings.planned(deployment, deployment.root)
    return [Difference(deployment.shown(deployment.env_file), "settings", f"differs: {said}") for said in changes.said]


def remember_mounts(context: Context, files: Wanted, found: Found) -> None:
    """Note what running containers have read, once nothing differs."""
    record = mounts.Record(Records(context.deployment).mounted)
    record.write(
        {
            (running.container.id, running.started_at): mounted(context, name, files.services[name])
            for name, running in found.running.items()
            if mounted(context, name, files.services[name])
        }
    )
