"""What makes a Compose project a branch, as files: settings, an overlay over production's description, dagster.yaml.

Pure: everything comes in, text goes out. The description is the checkout's own: code under review says what its
location does, never what it may reach.
"""

from datetime import datetime
from typing import Any

import yaml

from operations.branches.lakes import LAKES, PRODUCTION, mounts
from operations.branches.memory import Shares
from operations.branches.settings import ABSENT, Settings

FILE, DAGSTER_FILE = "branch.yml", "dagster.yaml"
DAGSTER_YAML = "/opt/dagster/home/dagster.yaml"
EXTERNAL_POSTGRES = "deploy/overlays/external-postgres.yml"
# Production's alone: its database, and the bucket of its logs, whose key a branch has not.
PRODUCTIONS = (EXTERNAL_POSTGRES, "deploy/overlays/s3-logs.yml")
# Nothing of a branch leaves the machine by itself: no mail, no certificate for production's name, no other database.
SILENT = (
    *("SITE_ADDRESS", "ACME_EMAIL", "ALERT_EMAIL_TO", "ALERT_EMAIL_FROM", "SMTP_HOST", "SMTP_USER"),
    *("LIBRARY_INDEX", "LIBRARY_INDEX_USER"),
)


class Reset:
    """Compose's tag for what an earlier file said and does not hold any more."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(Reset, lambda dumper, _: dumper.represent_scalar("!reset", "null"))


def values(origin: dict[str, str], name: str, port: str, settings: Settings, tags: dict[str, str]) -> dict[str, str]:
    """The branch's .env: production's, less what is production's alone."""
    files = [file for file in origin.get("COMPOSE_FILE", "docker-compose.yml").split(":") if file not in PRODUCTIONS]
    own = {
        "COMPOSE_FILE": ":".join([*files, f".deployments/{name}/{FILE}"]),
        "DEPLOYMENT": name,
        "SECRETS_DIR": f"./.deployments/{name}/secrets",
        "GATEWAY_PORT": port,
        "GATEWAY_BIND": settings.bind,
        "POSTGRES_HOST": "postgres",
        "POSTGRES_PORT": "5432",
        "POSTGRES_ADMIN_USER": "postgres",
        "BACKUPS": "off",
    }
    off = {key: "" for key in origin if key in SILENT or key.startswith("BACKUP_")}
    return {**origin, **off, **{key: value for key, value in own.items() if key in origin}, **tags}


def banner(name: str, origin: str, taken: datetime) -> str:
    """What the webserver says at the top of each page."""
    return f"{name} · clone of {origin} from {taken:%Y-%m-%d %H:%M} UTC · schedules off"


def networks(config: dict[str, Any]) -> set[str]:
    """The networks that a branch makes: those that its services are on, but for such as are somebody else's."""
    used = {
        each for key, spec in config["services"].items() if key not in ABSENT for each in spec.get("networks") or ()
    }
    return {each for each in used if not (config["networks"].get(each) or {}).get("external")}


def render(config: dict[str, Any], name: str, shares: Shares, text: str, subnets: dict[str, str]) -> str:
    """The overlay, over production's description as Compose resolves it; `subnets` are those of its networks."""
    services: dict[str, Any] = {
        service: Reset() if service in ABSENT else _service(service, spec, name, shares)
        for service, spec in config["services"].items()
    }
    if "webserver" in services:
        # A dollar sign would be a variable of Compose's.
        services["webserver"]["environment"] = {"BANNER": text.replace("$", "$$")}
    used = sorted({m["source"] for key, spec in config["services"].items() if key not in ABSENT for m in mounts(spec)})
    volumes = {f"production_{source}": {"external": True, "name": config["volumes"][source]["name"]} for source in used}
    document: dict[str, Any] = {"services": {key: value for key, value in services.items() if value}}
    if subnets:
        document["networks"] = {key: {"ipam": {"config": [{"subnet": value}]}} for key, value in subnets.items()}
    if volumes:
        document["volumes"] = volumes
    head = f"# Made by ./stack branch create: what {name} has that production has not. Gone with the branch.\n"
    return head + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def _service(service: str, spec: dict[str, Any], name: str, shares: Shares) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    if "build" in spec:
        # Images are production's, or built by `branch create` alone: no later `up` builds this checkout's instead.
        changed["build"] = Reset()
    if service in shares.services:
        changed["mem_limit"] = f"{shares.services[service]}m"
    if service in shares.runs:
        # Nothing waits for a branch's runs: what is looked at now and then has no memory to spare.
        memory = f"{shares.runs[service]}m"
        changed["labels"] = {"run.memory": memory, "run.memory.max": memory, "run.warm": "0"}
    volumes: list[Any] = [_production(mount) for mount in mounts(spec)]
    if any(mount.get("target") == DAGSTER_YAML for mount in spec.get("volumes") or ()):
        volumes.append(f"./.deployments/{name}/{DAGSTER_FILE}:{DAGSTER_YAML}:ro")
    if volumes:
        changed["volumes"] = volumes
    return changed


def _production(mount: dict[str, Any]) -> dict[str, Any]:
    """Production's files of a lake. Without nocopy the engine would give an empty volume another owner."""
    return {
        "type": "volume",
        "source": f"production_{mount['source']}",
        "target": str(mount["target"]).replace(LAKES, PRODUCTION, 1),
        "read_only": True,
        "volume": {"nocopy": True},
    }


def dagster_file(config: dict[str, Any]) -> str | None:
    """The dagster.yaml of a deployment, wherever its files say that it is."""
    found = (mount for spec in config["services"].values() for mount in spec.get("volumes") or ())
    return next((str(mount["source"]) for mount in found if mount.get("target") == DAGSTER_YAML), None)


def dagster_yaml(text: str, concurrent: int) -> str:
    """Production's dagster.yaml with as many runs at once as the branch has memory for."""
    document = yaml.safe_load(text)
    coordinator = document["run_coordinator"]["config"]
    coordinator["max_concurrent_runs"] = concurrent
    for limit in coordinator.get("tag_concurrency_limits") or ():
        limit["limit"] = min(limit["limit"], concurrent)
    return "# Made by ./stack branch create of the deployment's own.\n" + yaml.safe_dump(document, sort_keys=False)
