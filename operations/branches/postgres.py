"""Argument lists for the Postgres of a deployment, from inside its own container, where one may be any role.

A lake's database is its owner's, who may have put a view, a function or a trigger in the place of what is asked for:
so it is entered as that owner, never as the superuser. Dagster's database has no other owner than the deployment.
"""

import shlex
from collections.abc import Sequence

from operations.context import Context
from operations.errors import StackError

SERVICE = "postgres"
ADMIN = "postgres"
# Over what a database's owner sets for sessions in it: names mean the server's own first.
OPTIONS = "PGOPTIONS=-c search_path=pg_catalog,public"


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


def inside(postgres: str, program: str, role: str, *options: str) -> list[str]:
    """A client in the container as a role, by the socket (postgres/pg_ident.conf): no password is needed."""
    return ["docker", "exec", "--interactive", "--env", OPTIONS, postgres, program, "--username", role, *options]


def psql(postgres: str, database: str, *options: str, role: str = ADMIN) -> list[str]:
    """SQL from stdin; ends at the first error."""
    quiet = ("--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--field-separator", "|")
    chosen = (*quiet, "--set", "ON_ERROR_STOP=1", "--dbname", database, *options, "--file", "-")
    return inside(postgres, "psql", role, *chosen)


def dump(postgres: str, database: str, role: str) -> list[str]:
    """One database in one consistent snapshot, without owners and rights, to stdout."""
    return inside(
        postgres, "pg_dump", role, "--format", "custom", "--no-owner", "--no-privileges", "--dbname", database
    )


def restore(postgres: str, database: str, role: str) -> list[str]:
    """A dump from stdin, made by a role and so its own; all of it or nothing."""
    whole = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
    return inside(postgres, "pg_restore", role, *whole, "--dbname", database)


def pipe(source: Sequence[str], target: Sequence[str]) -> list[str]:
    """One program's output into the next; fails when either does. Nothing passes through this process."""
    return ["bash", "-o", "pipefail", "-c", f"{shlex.join(source)} | {shlex.join(target)}"]


def ask(context: Context, postgres: str, database: str, query: str, role: str = ADMIN) -> list[list[str]]:
    """The rows of a query."""
    printed = context.executor.run(psql(postgres, database, role=role), stdin=query, timeout=120).stdout
    return [line.split("|") for line in printed.splitlines()]


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"
