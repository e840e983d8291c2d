"""The service `backup` apart, as a restore needs it: volumes writable, the repository read-only, nobody else started.

A description of its own, made of what Compose resolved: with the deployment's files, Compose would make all networks of
all services before it answers one question.
"""

import json
from pathlib import Path
from typing import Any

from operations.backups.source import KEYS, S3, Source
from operations.context import Context

SERVICE = "backup"
REPOSITORY = "/var/lib/backups"
LAKES = "/var/lib/lake/"
_SOURCE_VOLUME = "restore-source"
# The server's sockets are of no use to it: it starts one of its own.
_SOCKETS = "/var/run/postgresql"
# Those that the deployment's own backups go to stay what they are; these are what is read.
_KEPT = ("image", "user", "environment", "secrets", "networks", "mem_limit", "cpus", "pids_limit", "logging")
_CONFINED = ("read_only", "cap_drop", "security_opt", "tmpfs", "stop_grace_period")


def write(context: Context, source: Source, lake: str | None = None) -> Path:
    """The file that describes it, with one lake alone in reach where its files are laid down."""
    path = context.deployment.state / "restore.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    # JSON is YAML.
    path.write_text(json.dumps(content(context.config, source, lake), indent=1), encoding="utf-8")
    return path


def lakes(config: dict[str, Any]) -> set[str]:
    """The lakes for which there is a volume."""
    targets = [each["target"] for each in config["services"][SERVICE]["volumes"]]
    return {target.removeprefix(LAKES) for target in targets if target.startswith(LAKES)}


def content(config: dict[str, Any], source: Source, lake: str | None = None) -> dict[str, Any]:
    """The description, from the deployment's as Compose resolved it. A location may be at work in its lake while files
    are laid down there, and may put a link in the way: then nothing that is not its own is in reach of the link."""
    service = config["services"][SERVICE]
    apart = {key: service[key] for key in (*_KEPT, *_CONFINED) if key in service}
    apart["environment"] = {
        **service.get("environment", {}),
        "BACKUP_NAME": _literal(source.name),
        **{key: _literal(source.s3.get(key, "")) for key in S3},
    }
    mounts = [each for each in service["volumes"] if each["target"] != _SOCKETS]
    if lake is not None:
        mounts = [each for each in mounts if each["target"] in (REPOSITORY, LAKES + lake)]
    apart["volumes"] = [_mount(each, source) for each in mounts]
    names = {each["source"] for each in apart["volumes"] if each["type"] == "volume"}
    volumes = {name: volume for name, volume in (config.get("volumes") or {}).items() if name in names}
    if _SOURCE_VOLUME in names:
        volumes[_SOURCE_VOLUME] = {"external": True, "name": _literal(source.mount)}
    used = {each["source"] for each in service.get("secrets") or ()}
    secrets = {name: secret for name, secret in (config.get("secrets") or {}).items() if name in used}
    secrets |= {
        name: {"file": _literal(str(source.secrets / name))} for name in KEYS if (source.secrets / name).is_file()
    }
    networks = {name: (config.get("networks") or {}).get(name) or {} for name in service.get("networks") or {}}
    return {"services": {SERVICE: apart}, "volumes": volumes, "secrets": secrets, "networks": networks}


def _literal(text: str) -> str:
    """A text in a file that Compose reads: what `docker compose config` printed has been treated so already."""
    return text.replace("$", "$$")


def _mount(mount: dict[str, Any], source: Source) -> dict[str, Any]:
    target = mount["target"]
    if target != REPOSITORY:
        writable = mount["type"] == "volume"
        return {"type": mount["type"], "source": mount["source"], "target": target, "read_only": not writable}
    place = {"type": mount["type"], "source": mount["source"]}
    if not source.is_s3:
        volume = source.is_volume
        place = {"type": "volume" if volume else "bind", "source": _SOURCE_VOLUME if volume else _literal(source.mount)}
    return {**place, "target": target, "read_only": True}
