"""That each location's models and revisions agree: tried in its image, on an empty Postgres of the trial's own."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from operations import docker
from operations.checking import definitions
from operations.checking.problems import Problem
from operations.checking.topology import package_of
from operations.context import Context
from operations.errors import StackError
from operations.releases import migration, standing

HOST = "127.0.0.1"
SECONDS = 600
# A cluster in memory, gone with the container, which ends by itself should nobody end it. It asks for no password: who
# reaches it is the location under trial alone, which shares its network of one loopback device.
SERVER = (
    "initdb --auth=trust --no-sync --wal-segsize=1 --encoding=UTF8 --username=postgres /tmp/data >/dev/null"
    f" && exec timeout {SECONDS} postgres -D /tmp/data -c listen_addresses={HOST} -c unix_socket_directories=/tmp"
    " -c fsync=off"
)
READY = "until pg_isready --quiet || [ $((waited += 1)) -gt 300 ]; do sleep 0.2; done; pg_isready"
PREPARE = 'createuser "$0" && createdb --owner "$0" "lake_$0"'
AS_ADMINISTRATOR = ("--env", f"PGHOST={HOST}", "--env", "PGUSER=postgres")


def check(context: Context, locations: Iterable[str]) -> list[Problem]:
    """A problem for each thing that models and revisions say differently, and for revisions that do not apply."""
    services = standing.checkout(context.config["services"])
    wanted = [name for name in locations if name in services and _has_migrations(context, name, services[name])]
    if not wanted:
        return []
    problems = []
    with context.report.step("Try the migrations") as step, _server(context, services) as server:
        for name in wanted:
            step.update(name)
            problems += _try(context, server, name, services[name])
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        step.done(count if problems else f"{', '.join(wanted)}: models and revisions agree")
    return problems


def _has_migrations(context: Context, name: str, service: dict[str, Any]) -> bool:
    if not service.get("build"):
        return migration.newest(context, name, service) is not None
    return (context.deployment.root / _folder(name, service) / "__init__.py").is_file()


def _folder(name: str, service: dict[str, Any]) -> str:
    """Where the location's migrations are, from the root."""
    source = ((service.get("build") or {}).get("args") or {}).get("SERVICE") or f"code_locations/{name}"
    return f"{source}/src/{package_of(name, service)}/migrations"


def _try(context: Context, server: str, name: str, service: dict[str, Any]) -> list[Problem]:
    context.executor.run(["docker", "exec", *AS_ADMINISTRATOR, server, "sh", "-c", PREPARE, name], timeout=60)
    result = context.executor.run(trial(server, name, service), check=False, timeout=SECONDS)
    lines = result.stdout.strip().splitlines()
    try:
        told: Mapping[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        told = {"error": f"its migrations cannot be tried: {result.last_words}"}
    found = [told["error"]] if "error" in told else list(told.get("problems") or ())
    return [Problem(_folder(name, service), None, f"{name}: {problem}") for problem in found]


@contextmanager
def _server(context: Context, services: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    name = f"{context.deployment.name}-check-{uuid.uuid4().hex[:8]}"
    try:
        started = context.executor.run(serve(name, _image(context, services)), check=False, timeout=60)
        wait = ["docker", "exec", *AS_ADMINISTRATOR, name, "sh", "-c", READY]
        ready = started.ok and context.executor.run(wait, check=False, timeout=90).ok
        if not ready:
            logs = context.executor.run(["docker", "logs", name], check=False, timeout=30)
            raise StackError(
                f"the Postgres to try migrations on does not start: {started.last_words or logs.last_words}",
                "a container of the deployment's own Postgres",
                f"{context.deployment.stack} doctor; then repeat",
            )
        yield name
    finally:
        context.executor.run(docker.remove(name), check=False, timeout=60)


def _image(context: Context, services: Mapping[str, dict[str, Any]]) -> str:
    if "postgres" in services:
        return str(services["postgres"]["image"])
    # The deployment's database is elsewhere.
    root, image = context.deployment.root, f"{context.deployment.name}/postgres:check"
    base = context.deployment.settings().get("BASE_IMAGE") or "debian:trixie-slim"
    build = [
        "docker",
        "build",
        "--quiet",
        "--tag",
        image,
        "--file",
        str(root / "postgres/Dockerfile"),
        "--target",
        "server",
    ]
    context.executor.run([*build, "--build-arg", f"BASE_IMAGE={base}", str(root)], timeout=SECONDS)
    return image


def serve(name: str, image: str) -> list[str]:
    """Start the server, without any network but its own loopback device."""
    return [
        "docker",
        "run",
        "--detach",
        "--name",
        name,
        *definitions.SANDBOX,
        "--entrypoint",
        "sh",
        image,
        "-c",
        SERVER,
    ]


def trial(server: str, name: str, service: Mapping[str, Any]) -> list[str]:
    """Try a location's migrations in its image, beside the server."""
    settings = {
        **(service.get("environment") or {}),
        **{"POSTGRES_HOST": HOST, "POSTGRES_PORT": "5432", "POSTGRES_USER": name, "POSTGRES_PASSWORD": "none"},
        **{"PGSSLMODE": "disable", "CODE_LOCATION": name, "CODE_LOCATION_PACKAGE": package_of(name, dict(service))},
    }
    # Not by the image's entry point, which would load secrets that are not there, and redacts.
    run = ["docker", "run", "--entrypoint", migration.COMMAND[0], *_beside(server), *definitions.environment(settings)]
    return [*run, str(service["image"]), *migration.COMMAND[1:], "check", "--json"]


def _beside(server: str) -> Sequence[str]:
    sandbox = list(definitions.SANDBOX)
    sandbox[sandbox.index("--network") + 1] = f"container:{server}"
    return sandbox
