"""Migrations of a location's tables around the swap of its image, by `platform_kit.migrations` in that image."""

import json
import re
from collections.abc import Mapping
from typing import Any

from operations import docker
from operations.checking import definitions
from operations.context import Context
from operations.errors import StackError
from operations.execute import Result

COMMAND = ("python", "-m", "platform_kit.migrations")
# What Alembic calls the state before the first revision.
BASE = "base"
SECONDS = 1800
# How an executor tells that a command was given up.
OUT_OF_TIME = 124
# Locations without the library, or with one of before it had migrations, or without Alembic, have none.
_NONE = re.compile(r"No module named '?(platform_kit|alembic)")


def newest(context: Context, name: str, service: Mapping[str, Any]) -> str | None:
    """The newest revision that an image brings; None for a location without migrations. Asked without a network."""
    settings = definitions.environment(dict(service.get("environment") or {}))
    image = str(service["image"])
    command = ["docker", "run", "--entrypoint", COMMAND[0], *definitions.SANDBOX, *settings, image, *COMMAND[1:]]
    result = context.executor.run([*command, "heads", "--json"], check=False, timeout=120)
    if not result.ok:
        if _NONE.search(result.stderr):
            return None
        raise _error(name, "the migrations in the new image cannot be read", result)
    return _told(result.stdout, "head")


def current(context: Context, name: str, env: Mapping[str, str]) -> str | None:
    """The revision that the location's tables are at; None before the first."""
    result = _inside(context, name, env, "current", "--json")
    if not result.ok:
        raise _error(name, "the state of its tables cannot be read", result)
    return _told(result.stdout, "current")


def upgrade(context: Context, name: str, env: Mapping[str, str], revision: str | None = None) -> None:
    """Bring a location's tables to what its image needs, or to a revision."""
    with context.report.step(f"Migrate the tables of {name}") as step:
        result = _inside(context, name, env, "upgrade", *(("--to", revision) if revision else ()))
        if not result.ok:
            raise _error(name, "its migration failed", result)
        step.done(_last(result.stdout))


def downgrade(context: Context, name: str, env: Mapping[str, str], revision: str | None) -> None:
    """Take a location's tables back to a revision, with the image that knows the way."""
    with context.report.step(f"Migrate the tables of {name} back") as step:
        result = _inside(context, name, env, "downgrade", "--to", revision or BASE)
        if not result.ok:
            raise _error(name, f"its tables cannot be taken back to {revision or BASE}", result)
        step.done(_last(result.stdout))


def _inside(context: Context, name: str, env: Mapping[str, str], *arguments: str) -> Result:
    """In a container of its own, on the location's network and with its secrets. `env` says which image.

    The container goes with the call, however that ends: a migration that nobody waits for any more would change tables
    under whatever is put back. One that a killed call left is removed by the next, before it looks at anything.
    """
    command = docker.one_off(context.deployment, name, *COMMAND, *arguments, name=_container(context, name))
    end(context, name)
    try:
        result = context.executor.run(command, env=env, check=False, timeout=SECONDS)
    except BaseException:
        end(context, name)
        raise
    if result.code == OUT_OF_TIME:
        end(context, name)
    return result


def end(context: Context, name: str) -> None:
    """End what is at work on a location's tables: Postgres takes back what was not complete."""
    context.executor.run(docker.remove(_container(context, name)), check=False, timeout=60)


def _container(context: Context, name: str) -> str:
    return f"{context.deployment.name}-{name}-migration"


def _told(printed: str, key: str) -> str | None:
    found: Any = json.loads(printed.strip().splitlines()[-1])
    return found.get(key) or None


def _last(printed: str) -> str:
    return printed.strip().splitlines()[-1] if printed.strip() else ""


def _error(name: str, what: str, result: Result) -> StackError:
    lines = [line for line in (result.stderr or result.stdout).splitlines() if line.strip()]
    return StackError(
        f"{name}: {what}:\n" + "\n".join(f"    {line}" for line in lines[-15:]),
        "migrations that go up and down",
        "correct the migration, commit, and repeat",
    )
