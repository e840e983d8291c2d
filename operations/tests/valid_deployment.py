"""A deployment without a problem, for tests that spoil it."""

from pathlib import Path
from typing import Any

import yaml

from access import loads
from operations.checking.problems import Places
from operations.checking.topology import Model
from operations.tests.fakes import ACCESS


def service(**own: Any) -> dict[str, Any]:
    """A service as hardening wants it, as Compose resolves it."""
    return {
        "image": "prod/x:local",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "user": "10001:10001",
        "mem_limit": "1073741824",
        "cpus": 1,
        "pids_limit": 256,
        "restart": "unless-stopped",
        "stop_grace_period": "1m0s",
        "healthcheck": {"test": ["CMD", "true"]},
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
        **own,
    }


def volume(source: str, target: str, read_only: bool = False) -> dict[str, Any]:
    mount: dict[str, Any] = {"type": "volume", "source": source, "target": target}
    return {**mount, "read_only": True} if read_only else mount


def location(name: str, *more: dict[str, Any]) -> dict[str, Any]:
    return service(
        image=f"prod/{name}:local",
        build={"args": {"NAME": name, "SERVICE": f"code_locations/{name}"}},
        environment={"POSTGRES_USER": name, "DAGSTER_CURRENT_IMAGE": f"prod/{name}:local"},
        secrets=[{"source": f"{name}_database_password", "target": "database_password"}],
        volumes=[
            volume(f"lake-{name}", f"/var/lib/lake/{name}"),
            volume(f"logs-{name}", f"/var/lib/dagster/logs/{name}"),
            *more,
        ],
        networks={name: None},
        labels={
            **{"code-location": name, "run.memory": "1g", "run.memory.max": "2g"},
            **{"run.cpus": "1", "run.cpus.max": "2"},
        },
    )


def valid() -> dict[str, Any]:
    """A deployment without a problem."""
    both = {"ingestion": None, "analytics": None}
    passwords = [{"source": f"{name}_database_password", "target": f"{name}_database_password"} for name in both]
    logs = [volume(f"logs-{name}", f"/var/lib/dagster/logs/{name}", read_only=True) for name in both]
    socket = {"type": "bind", "source": "/var/run/docker.sock", "target": "/var/run/docker.sock"}
    return {
        "services": {
            "postgres": service(networks=dict(both)),
            "migrate": service(networks={"ingestion": None}, restart="no", secrets=passwords, healthcheck={}),
            "run_broker": service(user="0:0", network_mode="none", volumes=[socket]),
            "ingestion": location("ingestion"),
            "analytics": location("analytics", volume("lake-ingestion", "/var/lib/lake/ingestion", read_only=True)),
            "webserver": service(networks={"edge": None, **both}, volumes=logs),
            "daemon": service(networks=dict(both)),
            "gateway": service(networks={"edge": None}, ports=[{"published": "3000", "target": 3000}]),
        },
        "networks": {"edge": {}, "ingestion": {}, "analytics": {}},
    }


def model(root: Path, config: dict[str, Any]) -> Model:
    for name in ("ingestion", "analytics"):
        path = root / "code_locations" / name / "src" / name / "definitions.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        (root / "code_locations" / name / "pyproject.toml").touch()
    (root / "docker-compose.yml").write_text(yaml.safe_dump(config, sort_keys=False))
    names = ["ingestion", "analytics"]
    return Model(root, config, names, loads(ACCESS, names), Places(root, ["docker-compose.yml"]))
