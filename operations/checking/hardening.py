"""That every service is confined as promised: a service added later is held to the same."""

from collections.abc import Iterator
from typing import Any

from operations.checking.problems import Problem
from operations.checking.topology import Model

ENGINE_SOCKET = "/var/run/docker.sock"
BROKER = "run_broker"
# The repository of backups may be a directory of the host, on a disk of its own.
REPOSITORY = "/var/lib/backups"
KEEPS_BACKUPS = ("backup", "postgres")
# Nobody may have these, whatever for.
FORBIDDEN = (
    "privileged",
    "cap_add",
    "devices",
    "pid",
    "ipc",
    "userns_mode",
    "cgroup_parent",
    "volumes_from",
    "env_file",
)


def check(model: Model) -> list[Problem]:
    """All weaknesses of all services."""
    problems = []
    for name, spec in model.services.items():
        problems += [
            *_confined(model, name, spec),
            *_limited(model, name, spec),
            *_reach(model, name, spec),
            *_watched(model, name, spec),
        ]
    return problems


def _confined(model: Model, name: str, spec: dict[str, Any]) -> Iterator[Problem]:
    if not spec.get("read_only"):
        yield model.problem("its root file system is writable; expected read_only: true", name)
    if spec.get("cap_drop") != ["ALL"]:
        yield model.problem("keeps capabilities; expected cap_drop: [ALL]", name, "cap_drop")
    security = [option.replace("=", ":") for option in spec.get("security_opt") or ()]
    if not {"no-new-privileges:true", "no-new-privileges"} & set(security):
        yield model.problem(
            "may gain privileges; expected security_opt: [no-new-privileges:true]", name, "security_opt"
        )
    weaker = [option for option in security if "unconfined" in option or "disable" in option]
    if weaker:
        yield model.problem(f"security_opt {weaker[0]} takes a protection away", name, "security_opt")
    user = str(spec.get("user", "")).split(":")[0]
    if name != BROKER and user in ("", "0", "root"):
        yield model.problem("runs as root or as whoever the image says; expected user: with a number", name, "user")
    for key in FORBIDDEN:
        if spec.get(key):
            yield model.problem(f"{key} is not for services of this deployment", name, key)


def _limited(model: Model, name: str, spec: dict[str, Any]) -> Iterator[Problem]:
    for key, what in (("mem_limit", "memory"), ("cpus", "processors"), ("pids_limit", "processes")):
        if not spec.get(key):
            yield model.problem(f"its {what} are not limited; expected {key}", name, key)


def _reach(model: Model, name: str, spec: dict[str, Any]) -> Iterator[Problem]:
    if spec.get("ports") and name != "gateway":
        yield model.problem("publishes a port; only gateway may", name, "ports")
    if spec.get("network_mode") and not (name == BROKER and spec["network_mode"] == "none"):
        yield model.problem(f"network_mode is {spec['network_mode']}; expected networks", name, "network_mode")
    for mount in spec.get("volumes") or ():
        source, target = str(mount.get("source", "")), str(mount.get("target", ""))
        if (source.endswith("docker.sock") or target == ENGINE_SOCKET) and name != BROKER:
            yield model.problem("mounts the engine's socket; only run_broker may", name, "volumes")
        elif target == REPOSITORY and name in KEEPS_BACKUPS:
            continue
        elif mount.get("type") == "bind" and not mount.get("read_only") and name != BROKER:
            yield model.problem(f"may write to {source} of the host", name, "volumes")
    if name == BROKER and spec.get("network_mode") != "none":
        yield model.problem("has a network; expected network_mode: none", name, "network_mode")
    for key in spec.get("environment") or {}:
        if key.endswith(("PASSWORD", "TOKEN", "SECRET")):
            yield model.problem(f"{key} shows in docker inspect; expected {key}_FILE and a secret", name, "environment")


def _watched(model: Model, name: str, spec: dict[str, Any]) -> Iterator[Problem]:
    one_shot = spec.get("restart") == "no"
    if spec.get("restart") not in ("no", "unless-stopped"):
        yield model.problem(f"restart is {spec.get('restart')!r}; expected unless-stopped", name, "restart")
    health = spec.get("healthcheck") or {}
    if not one_shot and (health.get("disable") or not health.get("test")):
        yield model.problem("has no health check", name, "healthcheck")
    options = (spec.get("logging") or {}).get("options") or {}
    if not options.get("max-size") or not options.get("max-file"):
        yield model.problem("its log grows without end; expected max-size and max-file", name, "logging")
    if not spec.get("stop_grace_period"):
        yield model.problem("is killed after 10 s; expected stop_grace_period", name, "stop_grace_period")
