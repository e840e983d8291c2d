"""Production as branches find it: a checkout, what Compose resolves of it, and containers that run."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from operations import gateway
from operations.branches import commands, create
from operations.branches.create import Wish
from operations.execute import Result
from operations.tests.fakes import EXAMPLE, KILLED, FakeExecutor, Machine, container
from operations.tests.valid_deployment import service, volume

SETTINGS = """
# Where code believes it runs.
DEPLOYMENT=prod
INGESTION_TAG=20261101T120000Z-0a1b2c3d4e5f

# Alerts.
SMTP_HOST=mail.example.com

# Branches.
BRANCH_MEMORY_MB=6144
BRANCH_DAYS=7
BRANCH_SECRETS=
BRANCH_BIND=127.0.0.1
BRANCH_NETWORKS=198.18.0.0/16
"""
DAGSTER_YAML = """
run_coordinator:
  config:
    max_concurrent_runs: 12
    tag_concurrency_limits: [{key: dagster/code_location, value: {applyLimitPerUniqueValue: true}, limit: 8}]
schedules: {use_threads: true}
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SECRETS = ("postgres_password", "gateway_token", "gateway_users", "gateway_groups", "personal_data_key_ingestion")
SERVICES = ("postgres", "migrate", "ingestion", "analytics", "webserver", "daemon", "gateway")
LOADED = [gateway.Location("ingestion", loading=False), gateway.Location("analytics", loading=False)]
SHARED_IMAGES = {"migrate": "daemon"}


class Interrupted(FakeExecutor):
    """The person presses Ctrl-C at one call, or the machine loses its power."""

    def __init__(self, at: int, *, kill: bool = False) -> None:
        super().__init__()
        self._at, self._kill = at, kill

    def run(self, args: Sequence[str], **options: Any) -> Result:
        if len(self.calls) == self._at:
            self._at = -1
            if self._kill:
                os._exit(KILLED)
            raise KeyboardInterrupt
        return super().run(args, **options)


def config(name: str, root: Path, tag: str = "20261101T120000Z-0a1b2c3d4e5f") -> dict[str, Any]:
    """What Compose resolves of a deployment."""
    mount = {"type": "bind", "source": str(root / "dagster.yaml"), "target": "/opt/dagster/home/dagster.yaml"}

    def location(place: str, *more: dict[str, Any]) -> dict[str, Any]:
        return service(
            image=f"{name}/{place}:{tag if place == 'ingestion' else 'local'}",
            build={
                "context": str(root),
                "dockerfile": "deploy/images/python-service.Dockerfile",
                "target": "location",
                "args": {"SERVICE": f"code_locations/{place}", "NAME": place},
            },
            labels={"code-location": place, "run.memory": "1g", "run.memory.max": "2g"},
            volumes=[volume(f"lake-{place}", f"/var/lib/lake/{place}"), *more],
        )

    def plain(place: str, **own: Any) -> dict[str, Any]:
        return service(image=f"{name}/{SHARED_IMAGES.get(place, place)}:local", build={"context": str(root)}, **own)

    services = {
        "postgres": plain("postgres"),
        "migrate": plain("migrate", restart="no", volumes=[mount]),
        "backup": plain("backup", volumes=[volume("lake-ingestion", "/var/lib/lake/ingestion", read_only=True)]),
        "ingestion": location("ingestion"),
        "analytics": location("analytics", volume("lake-ingestion", "/var/lib/lake/ingestion", read_only=True)),
        "webserver": plain("webserver", volumes=[mount]),
        "daemon": plain("daemon", volumes=[mount]),
        "gateway": plain("gateway", mem_limit=str(256 * 1024**2)),
    }
    if name != "prod":
        # As its overlay makes it.
        services = {key: {k: v for k, v in spec.items() if k != "build"} for key, spec in services.items()}
        del services["backup"]
    secrets = root / "secrets" if name == "prod" else root / ".deployments" / name / "secrets"
    return {
        "services": services,
        "volumes": {f"lake-{place}": {"name": f"{name}_lake-{place}"} for place in ("ingestion", "analytics")},
        "secrets": {secret: {"file": str(secrets / secret)} for secret in SECRETS},
    }


def running(machine: Machine, name: str) -> None:
    """All services of a deployment, each in a container."""
    found = [container(service, id=f"{name}-{service}", labels={PROJECT: name}) for service in SERVICES]
    ids = [one["Id"] for one in found]
    answer = machine.executor.answer
    answer("--filter", f"label={PROJECT}={name}", stdout="\n".join(ids))
    answer("inspect", "--type", "container", ids[0], stdout=json.dumps(found))
    answer(*IMAGES, ids[0], stdout="".join(f"{service} sha256:{service}\n" for service in SERVICES))


PROJECT = "com.docker.compose.project"
IMAGES = ("--format", '{{index .Config.Labels "com.docker.compose.service"}} {{.Image}}')


def prepared(machine: Machine) -> Machine:
    """Production, running, in a git checkout; and how the branch will be resolved."""
    root = machine.root
    (root / ".env.example").write_text(EXAMPLE + SETTINGS)
    (root / ".env").write_text(EXAMPLE + SETTINGS)
    (root / "dagster.yaml").write_text(DAGSTER_YAML)
    (root / "code_locations").mkdir()
    (root / "secrets").mkdir()
    for name in (*SECRETS, "admin_password"):
        (root / "secrets" / name).write_text(f"production's {name}")
    (root / "secrets/gateway_users").write_text("admin $2b$04$hash\n")
    (root / "secrets/gateway_groups").write_text('admin "platform"\n')
    answers(machine)
    return machine


def answers(machine: Machine, executor: FakeExecutor | None = None) -> None:
    """What the engine and git say."""
    machine.executor = executor or machine.executor
    machine.tools_are_there()
    answer = machine.executor.answer
    for name in ("prod", "branch-7"):
        answer(name, "config", "--format", "json", stdout=json.dumps(config(name, machine.root)))
        running(machine, name)
    answer("heads", "--json", stdout='{"head": "0001"}')
    answer("--verify", "--quiet", "HEAD^{commit}", stdout=COMMIT)


def make(
    machine: Machine,
    *locations: str,
    source: str = "",
    identifier: str = "7",
    origin: str = "prod",
    replace: bool = False,
) -> int:
    """`./stack branch create`."""
    production = machine.context(origin)
    with commands.held(production, identifier, "branch create") as branch:
        return create.create(production, branch, Wish(identifier, locations, source, replace))


def overlay(machine: Machine) -> dict[str, Any]:
    """The branch's overlay; what it resets is None."""
    text = (machine.root / ".deployments/branch-7/branch.yml").read_text()
    loaded: dict[str, Any] = yaml.safe_load(text.replace("!reset 'null'", "null"))
    return loaded


def sql(machine: Machine, words: str) -> list[int]:
    """Positions of the calls whose SQL contains these words."""
    return [number for number, stdin in enumerate(machine.executor.stdins) if words in (stdin or "")]


def position(machine: Machine, *words: str) -> int:
    """Where the first call that contains these words in a row is."""
    calls = machine.executor.calls
    return next(number for number, call in enumerate(calls) if call in machine.executor.ran(*words))
