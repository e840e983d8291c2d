"""The migration, step by step. Each step looks first and does what is missing."""

from collections.abc import Iterable, Sequence

import psycopg2
from provisioning import statements
from provisioning.backups import provide_backups
from provisioning.expected import GUARDED
from provisioning.mending import provide_mending
from provisioning.plan import DAGSTER, OWNER, SERVICE, Lake, Plan

from migrate.errors import MigrationError
from migrate.guard import guard_runs
from migrate.schema import migrate_dagster
from migrate.scram import verifier
from migrate.server import (
    MAINTENANCE,
    Connection,
    Say,
    ask,
    check_version,
    connect_admin,
    database,
    execute,
    one_line,
    only_one,
)
from migrate.settings import Settings


def migrate(settings: Settings, plan: Plan, say: Say) -> None:
    """Make the server what the plan says. Safe to run at any time and twice at once."""
    verifiers = {role.name: verifier(settings.password_of(role.name)) for role in plan.roles}
    admin = connect_admin(settings)
    # Databases are made outside of transactions, so everything on this connection is.
    admin.autocommit = True
    try:
        version = check_version(admin)
        with only_one(admin, say):
            say(f"server {settings.host}:{settings.port}, PostgreSQL {version // 10000}, as {settings.admin}")
            _roles(admin, plan, verifiers, version, say)
            _databases(admin, settings, plan, version, say)
            _prepare_dagster(settings, version)
            migrate_dagster(settings, say)
            _grant_dagster(settings, plan)
            _lakes(admin, settings, plan.lakes, version, say)
    finally:
        admin.close()


def _roles(admin: Connection, plan: Plan, verifiers: dict[str, str], version: int, say: Say) -> None:
    (superuser,) = ask(admin, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")[0]
    existing = {name for (name,) in ask(admin, "SELECT rolname FROM pg_roles")}
    # From version 16 on, being a member does not imply the right to act as the role: databases need the latter.
    right = "SET" if version >= 160000 else "MEMBER"
    for role in plan.roles:
        if role.name not in existing:
            execute(admin, [statements.create_role(role.name)])
            say(f"made the role {role.name}")
        if not superuser and not ask(admin, f"SELECT pg_has_role(current_user, %s, '{right}')", role.name)[0][0]:
            execute(admin, [statements.join_role(role.name)])
        execute(admin, statements.alter_role(role, verifiers[role.name], superuser=superuser))


def _databases(admin: Connection, settings: Settings, plan: Plan, version: int, say: Say) -> None:
    owners = dict(ask(admin, "SELECT datname, pg_get_userbyid(datdba) FROM pg_database"))
    for name, owner in ((DAGSTER, OWNER), *((lake.database, lake.owner) for lake in plan.lakes)):
        if name not in owners:
            execute(admin, [statements.create_database(name, owner, version)])
            say(f"made the database {name}, owned by {owner}")
        elif owners[name] != owner:
            execute(admin, [statements.own_database(name, owner)])
            say(f"gave the database {name}, until now {owners[name]}'s, to {owner}")
        execute(admin, [statements.close_database(name)])
    if settings.bundled:
        # A server that others use as well is theirs to open or close.
        execute(admin, [statements.close_database(name) for name in (MAINTENANCE, "template1")])
    execute(admin, statements.connect(DAGSTER, (SERVICE, *plan.locations)))
    for role in plan.roles:
        execute(admin, statements.role_settings(role))


def _prepare_dagster(settings: Settings, version: int) -> None:
    with database(settings, DAGSTER) as connection:
        execute(connection, statements.close_schema(OWNER, version))


def _grant_dagster(settings: Settings, plan: Plan) -> None:
    with database(settings, DAGSTER) as connection:
        tables = [name for (name,) in ask(connection, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        triggers = [name for (name,) in ask(connection, _TRIGGERS, [f"public.{name}" for name in GUARDED])]
        # Guarded before it may be written, in one transaction.
        execute(connection, guard_runs(triggers))
        roles = (SERVICE, *plan.locations)
        execute(connection, statements.grant_dagster(roles, tables, plan.maintainers))
        (superuser,) = ask(connection, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")[0]
        execute(connection, provide_mending(plan, tables, superuser=superuser))
        execute(connection, provide_backups(plan))


def _lakes(admin: Connection, settings: Settings, lakes: Sequence[Lake], version: int, say: Say) -> None:
    """A lake's owner can do with its database what it likes, shut it to us too: that stops nobody else's start."""
    left = []
    for lake in lakes:
        try:
            _lake(admin, settings, lake, version, say)
        except (psycopg2.Error, MigrationError) as error:
            left.append(f"{lake.database} stays as it was, with the readers it had: {one_line(error)}")
            say(f"WARNING: {left[-1]}")
    if left and len(left) == len(lakes):
        raise MigrationError("No lake could be prepared. " + " ".join(left))


def _lake(admin: Connection, settings: Settings, lake: Lake, version: int, say: Say) -> None:
    former = former_readers(ask(admin, _LOCATION_ROLES), ask(admin, _ADMITTED, lake.database), lake)
    with database(settings, lake.database) as connection:
        execute(connection, statements.close_schema(lake.owner, version))
        for reader in former:
            execute(connection, statements.revoke_reader(lake, reader))
            say(f"{reader} no longer reads {lake.database}")
        for reader in lake.readers:
            execute(connection, statements.grant_reader(lake, reader))
    # Let in last: who is in may read.
    execute(admin, statements.connect(lake.database, lake.readers))


_TRIGGERS = "SELECT tgname FROM pg_trigger WHERE tgrelid = ANY (%s::regclass[])"
# Only locations' roles are taken back: another reader, such as a dashboard's, is the operator's own doing.
_LOCATION_ROLES = "SELECT rolname FROM pg_roles JOIN pg_database ON datname = 'lake_' || rolname"
_ADMITTED = (
    "SELECT DISTINCT pg_get_userbyid(entry.grantee) FROM pg_database, aclexplode(datacl) AS entry "
    "WHERE datname = %s AND entry.grantee <> 0"
)


def former_readers(locations: Iterable[tuple[str]], admitted: Iterable[tuple[str]], lake: Lake) -> list[str]:
    """Locations that the database still admits though access.yaml no longer names them. Pure."""
    ours = {name for (name,) in locations}
    return sorted({name for (name,) in admitted} & ours - {lake.owner, *lake.readers})
