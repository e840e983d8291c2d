"""From a code server to its run: a pure function from what the engine says to the body of the create call."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from run_broker.confinement import (
    copy_binds,
    copy_mounts,
    networks_of,
    require_harmless_mounts,
    require_user,
    security_options,
)
from run_broker.create_request import (
    COMMAND,
    JOB_NAME_LABEL,
    LOCATION_LABEL,
    RUN_ID_LABEL,
    CreateRequest,
    repository_of,
)
from run_broker.engine_views import Container, Image
from run_broker.identity import (
    IMAGE_LABEL,
    ONEOFF_LABEL,
    PROJECT_LABEL,
    ROLE,
    ROLE_LABEL,
    SANDBOX_LABEL,
    SERVICE_LABEL,
    WARM_LABEL,
    WARM_ROLE,
    Identity,
)
from run_broker.refusal import Refusal
from run_broker.resources import decide_resources, decide_warm
from run_broker.settings import Settings

# Copied as they are. What is not in this list is not copied: privileges, devices, capabilities, published ports,
# the host's namespaces, sysctls, restart policies.
COPIED = (
    "BlkioWeight", "CgroupParent", "CpuShares", "CpusetCpus", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts",
    "GroupAdd", "Init", "LogConfig", "Runtime", "ShmSize", "StorageOpt", "Tmpfs", "Ulimits",
)  # fmt: skip
# `docker compose exec` and `port` take the container with the lowest number, one-off or not: never a run's.
CONTAINER_NUMBER = "1000000"
_COMPOSE = "com.docker.compose."
_COPIED_LABELS = ("config-hash", "project.config_files", "project.working_dir", "version")


# What a warm container does until it gets a run: libraries/run_worker, in every image of the deployment.
WORKER = ["python", "-m", "run_worker"]
_JOB_NAME = "DAGSTER_RUN_JOB_NAME"


@dataclass(frozen=True)
class Plan:
    """A container to create: its name, the body, and the networks to join before it starts.

    `digest` tells whether a container is this very plan's; `warm`, whether a warm one could be this run's; `keep`, how
    many of those the location wants.
    """

    name: str
    body: dict[str, Any]
    more_networks: tuple[str, ...]
    digest: str
    warm: str
    keep: int = 0

    @property
    def networks(self) -> frozenset[str]:
        """All networks of the container."""
        return frozenset((*self.body["NetworkingConfig"]["EndpointsConfig"], *self.more_networks))


def plan_run(
    request: CreateRequest,
    server: Container,
    server_image: Image | None,
    image: Image,
    identity: Identity,
    settings: Settings,
) -> Plan:
    """The container of a run: its code server's sandbox with another command."""
    _require_image(request, server, image)
    networks = networks_of(server)
    body: dict[str, Any] = {
        # The id, not the name: a tag that moves between the check and the create changes nothing.
        "Image": image.id,
        "Cmd": [*COMMAND, request.arguments],
        "Env": _environment(request, server, server_image),
        "User": require_user(server.config.user),
        "Labels": _labels(request, server, identity),
        "Tty": False,
        "OpenStdin": False,
        # The image's or the service's health check is one of a code server.
        "Healthcheck": {"Test": ["NONE"]},
        # Dagster turns SIGTERM into a run that ends in CANCELED, and needs time to say so.
        "StopSignal": "SIGTERM",
        "StopTimeout": max(settings.run_stop_timeout, min(server.config.stop_timeout or 0, 300)),
        "HostConfig": _host_config(request, server, server_image, networks, identity, settings),
        # No aliases: a run must not answer to its code server's name.
        "NetworkingConfig": {"EndpointsConfig": {name: {} for name in networks[:1]}},
    }
    digest = body["Labels"][SANDBOX_LABEL] = _digest(body, networks)
    name = identity.container_name(request.location, request.run_id)
    shared = _digest(_shared(body, request, server), networks)
    return Plan(name, body, networks[1:], digest, shared, decide_warm(server, server_image))


def plan_warm(run: Plan, location: str, slug: str, identity: Identity) -> Plan:
    """A warm container in the sandbox of a run's plan. It gets its run's arguments over its standard input."""
    labels = {key: value for key, value in run.body["Labels"].items() if key not in (RUN_ID_LABEL, JOB_NAME_LABEL)}
    labels |= {ROLE_LABEL: WARM_ROLE, _COMPOSE + "slug": slug, WARM_LABEL: run.warm}
    body = {**run.body, "Cmd": [*WORKER, run.body["Cmd"][-1]], "Labels": labels, "OpenStdin": True}
    return replace(run, name=identity.warm_name(location, slug), body=body)


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _shared(body: Mapping[str, Any], request: CreateRequest, server: Container) -> dict[str, Any]:
    """What two runs must have in common for a container that was made for one to do for the other.

    The code server's start is of it: whoever restarts one wants what it read then, such as a secret, read anew.
    """
    environment = [item for item in body["Env"] if not item.startswith(_JOB_NAME + "=")]
    same = {key: body[key] for key in ("Image", "User", "StopTimeout", "HostConfig")}
    began = [server.id, server.state.started_at]
    return {**same, "Env": environment, "instance": request.instance, "server": began}


def _require_image(request: CreateRequest, server: Container, image: Image) -> None:
    """The image must be one of the location: by its own label and by the repository of the code server's image."""
    repository = repository_of(server.config.image)
    if repository is None:
        raise Refusal(409, "nameless-image", "the code server was started from an image id, not from repository:tag")
    if repository_of(request.image) != repository:
        raise Refusal(403, "foreign-image", f"{request.image} is not of {repository}, the location's repository")
    label = image.config.labels.get(LOCATION_LABEL)
    if label != request.location:
        raise Refusal(
            403, "foreign-image", f"{request.image} carries {LOCATION_LABEL}={label!r}, not {request.location!r}"
        )


def _environment(request: CreateRequest, server: Container, server_image: Image | None) -> list[str]:
    """What the deployment gives the code server; what came from the image is the run's image's to say.

    Otherwise a run with an older or newer image would get the PATH of the code server's.
    """
    from_image = set(server_image.config.env) if server_image else set()
    own = {"DAGSTER_CURRENT_IMAGE": request.image, _JOB_NAME: request.job_name}
    kept = [item for item in server.config.env if item not in from_image and item.split("=", 1)[0] not in own]
    return [*kept, *(f"{key}={value}" for key, value in own.items())]


def _labels(request: CreateRequest, server: Container, identity: Identity) -> dict[str, str]:
    """Compose's labels make `down --remove-orphans` take the run; the one-off mark keeps `up` and `ps` from it."""
    copied = {_COMPOSE + key: server.config.labels.get(_COMPOSE + key) for key in _COPIED_LABELS}
    return {
        # Compose sees no container without a config-hash.
        _COMPOSE + "config-hash": "run",
        **{key: value for key, value in copied.items() if value},
        PROJECT_LABEL: identity.project,
        SERVICE_LABEL: request.location,
        ONEOFF_LABEL: "True",
        _COMPOSE + "container-number": CONTAINER_NUMBER,
        _COMPOSE + "slug": request.run_id,
        LOCATION_LABEL: request.location,
        RUN_ID_LABEL: request.run_id,
        JOB_NAME_LABEL: request.job_name,
        ROLE_LABEL: ROLE,
        # The container is created from an id; this is the name that people know.
        IMAGE_LABEL: request.image,
    }


def _host_config(
    request: CreateRequest,
    server: Container,
    server_image: Image | None,
    networks: tuple[str, ...],
    identity: Identity,
    settings: Settings,
) -> dict[str, Any]:
    theirs: Mapping[str, Any] = server.host_config
    require_harmless_mounts(server, identity.own_mounts)
    resources = decide_resources(
        server,
        server_image,
        (request.memory, request.nano_cpus),
        (settings.run_default_memory, settings.run_default_cpus),
    )
    pids = theirs.get("PidsLimit") or 0
    copied = {key: theirs[key] for key in COPIED if theirs.get(key) not in (None, "", [], {})}
    return {
        **copied,
        "Binds": copy_binds(theirs.get("Binds") or [], identity.own_mounts),
        "Mounts": copy_mounts(theirs.get("Mounts") or [], identity.own_mounts),
        "NetworkMode": networks[0] if networks else "none",
        "SecurityOpt": security_options(theirs.get("SecurityOpt") or []),
        "PidsLimit": pids if pids > 0 else settings.run_default_pids,
        "Memory": resources.memory,
        # Equal to Memory: no swap, so that a run that needs too much is killed instead of slowing down everyone.
        "MemorySwap": resources.memory,
        "NanoCpus": resources.nano_cpus,
        **FORCED,
    }


FORCED: Mapping[str, Any] = {
    "AutoRemove": False,
    "CapAdd": [],
    "CapDrop": ["ALL"],
    "CgroupnsMode": "private",
    "Devices": [],
    "IpcMode": "private",
    "OomKillDisable": False,
    "PidMode": "",
    "PortBindings": {},
    "Privileged": False,
    "PublishAllPorts": False,
    "ReadonlyRootfs": True,
    "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    "UTSMode": "",
}
"""The same for every run, whatever its code server has."""
