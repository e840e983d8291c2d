"""Argument lists for the Postgres of a deployment, as its superuser, from inside its own container."""

import shlex
from collections.abc import Sequence

from operations.context import Context
from operations.errors import StackError

SERVICE = "postgres"
# The password goes from the secret to the client's environment, in the container: it is in no argument list.
AS_ADMIN = 'PGPASSWORD="$(cat /run/secrets/postgres_password)" exec "$@"'
WHO = ("--host", "127.0.0.1", "--username", "postgres")


def container(context: Context) -> str | None:
    """The running Postgres of a deployment."""
    found = (each for each in context.containers() if each.service == SERVICE and each.is_service)
    return next((each.id for each in found if each.state == "running"), None)


def require(context: Context) -> str:
    """The same; raises `StackError` where it does not run."""
    found = container(context)
    if found is None:
        raise StackError(
            f"the Postgres of {context.deployment.name} does not run",
            "the bundled one, running",
            f"{context.deployment.stack} up",
        )
    return found


def inside(postgres: str, *command: str) -> list[str]:
    """A command in the container with the superuser's password."""
    return ["docker", "exec", "--interactive", postgres, "sh", "-c", AS_ADMIN, "sh", *command]


def psql(postgres: str, database: str, *options: str) -> list[str]:
    """SQL from stdin; ends at the first error."""
    quiet = ("--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--field-separator", "|")
    return inside(
        postgres, "psql", *WHO, *quiet, "--set", "ON_ERROR_STOP=1", "--dbname", database, *options, "--file", "-"
    )


def dump(postgres: str, database: str) -> list[str]:
    """One database in one consistent snapshot, without owners and rights, to stdout."""
    return inside(
        postgres, "pg_dump", *WHO, "--format", "custom", "--no-owner", "--no-privileges", "--dbname", database
    )


def restore(postgres: str, database: str, role: str) -> list[str]:
    """A dump from stdin, made by a role and so its own; all of it or nothing."""
    whole = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
    return inside(postgres, "pg_restore", *WHO, *whole, "--role", role, "--dbname", database)


def pipe(source: Sequence[str], target: Sequence[str]) -> list[str]:
    """One program's output into the next; fails when either does. Nothing passes through this process."""
    return ["bash", "-o", "pipefail", "-c", f"{shlex.join(source)} | {shlex.join(target)}"]


def ask(context: Context, postgres: str, database: str, query: str) -> list[list[str]]:
    """The rows of a query."""
    printed = context.executor.run(psql(postgres, database), stdin=query, timeout=120).stdout
    return [line.split("|") for line in printed.splitlines()]


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"
