"""Two code locations of the tests, put on top of whatever locations the checkout has.

One has jobs that misbehave, one does not import. They are described as any location in docker-compose.yml is, from the
same shared blocks, so that no shipped location is needed for them.
"""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

from access import load_locations

ROOT = Path(__file__).resolve().parents[2]
OWN = ("probe", "broken")
# Files that services of docker-compose.yml mount, and that name the locations.
NAMING = ("workspace.yaml", "access.yaml")


def _read(root: Path, file: str) -> Any:
    return yaml.safe_load((root / file).read_text())


@cache
def shipped(root: Path = ROOT) -> tuple[str, ...]:
    """The code locations of a checkout."""
    return tuple(load_locations(root / "workspace.yaml"))


def write(home: Path, root: Path = ROOT) -> None:
    """Write the overlay of a deployment of the tests, and the files that it mounts."""
    for name, content in (
        ("workspace.yaml", _workspace(root)),
        ("access.yaml", _access(root)),
        ("overlay.yml", _overlay(root, f"./{home.relative_to(root)}")),
    ):
        (home / name).write_text(yaml.safe_dump(content, sort_keys=False))


def _workspace(root: Path) -> dict[str, Any]:
    names = (*load_locations(root / "workspace.yaml"), *OWN)
    return {"load_from": [{"grpc_server": {"host": name, "port": 4000, "location_name": name}} for name in names]}


def _access(root: Path) -> dict[str, Any]:
    """Who the end-to-end tests sign in as."""
    access = _read(root, "access.yaml")
    people = access["people"]
    people["editor"]["probe"] = {"users": ["edith"], "groups": []}
    return {**access, "people": {**people, "viewer": {"users": ["victor"], "groups": []}, "unknown_users": "none"}}


def _overlay(root: Path, home: str) -> dict[str, Any]:
    base = _read(root, "docker-compose.yml")
    services: dict[str, Any] = {name: _location(base, name) for name in OWN}
    for name, spec in base["services"].items():
        mounts = [str(mount) for mount in spec.get("volumes") or ()]
        own = [
            mount.replace(f"./{file}:", f"{home}/{file}:")
            for mount in mounts
            for file in NAMING
            if f"./{file}:" in mount
        ]
        if own:
            services[name] = {"volumes": own}
    services["migrate"]["secrets"] = [f"{name}_database_password" for name in OWN]
    services["webserver"]["volumes"] += [f"logs-{name}:/var/lib/dagster/logs/{name}:ro" for name in OWN]
    for name in ("postgres", "webserver", "daemon"):
        services.setdefault(name, {})["networks"] = dict.fromkeys(OWN)
    secrets = "${SECRETS_DIR:-./secrets}"
    return {
        "services": services,
        "networks": {"probe": {}, "broken": {"internal": True}},
        "volumes": {f"{kind}-{name}": {} for kind in ("lake", "logs") for name in OWN},
        "secrets": {f"{name}_database_password": {"file": f"{secrets}/{name}_database_password"} for name in OWN},
    }


def _location(base: dict[str, Any], name: str) -> dict[str, Any]:
    image = f"${{COMPOSE_PROJECT_NAME}}/{name}:local"
    build = {"context": ".", "dockerfile": "deploy/images/python-service.Dockerfile", "target": "location"}
    return {
        **base["x-code-location"],
        "image": image,
        "build": {**build, "args": {**base["x-build"], "SERVICE": f"tests/locations/{name}", "NAME": name}},
        "environment": {**base["x-environment"], "POSTGRES_USER": name, "DAGSTER_CURRENT_IMAGE": image},
        "secrets": [{"source": f"{name}_database_password", "target": "database_password"}],
        "volumes": [f"lake-{name}:/var/lib/lake/{name}", f"logs-{name}:/var/lib/dagster/logs"],
        "networks": [name],
        "labels": {
            "code-location": name,
            **{"run.memory": "512m", "run.memory.max": "1g", "run.cpus": "1", "run.cpus.max": "1", "run.warm": "1"},
        },
    }


def reads(root: Path) -> dict[str, list[str]]:
    """Which location reads which others' lakes."""
    return {name: rights.get("reads", []) for name, rights in (_read(root, "access.yaml")["machines"] or {}).items()}
