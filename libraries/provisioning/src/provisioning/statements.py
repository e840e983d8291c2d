"""The SQL that makes a server what the plan says. Pure: what is there comes in, statements come out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from psycopg2.sql import SQL, Composable, Identifier, Literal

from provisioning.plan import (
    LOCATION_DELETES,
    LOCATION_INSERTS,
    LOCATION_UPDATES,
    MAINTAINER_DELETES,
    SERVICE,
    Lake,
    Role,
)

Statements: TypeAlias = list[Composable]


def create_role(name: str) -> Composable:
    """A role that may do nothing yet."""
    return SQL("CREATE ROLE {} NOLOGIN").format(Identifier(name))


def alter_role(role: Role, verifier: str | None, *, superuser: bool) -> Statements:
    """Login, limits and the password, as a verifier (None leaves it). Only a superuser may say what a role is not."""
    powers = " NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS" if superuser else ""
    alter = SQL("ALTER ROLE {} WITH LOGIN" + powers + " CONNECTION LIMIT {}")
    statement = alter.format(Identifier(role.name), Literal(role.connections))
    return [statement if verifier is None else statement + SQL(" PASSWORD {}").format(Literal(verifier))]


def role_settings(role: Role) -> Statements:
    """The settings of a role's sessions in each database."""
    alter = SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}")
    return [
        alter.format(Identifier(role.name), Identifier(database), Identifier(key), Literal(value))
        for database, settings in role.settings.items()
        for key, value in settings.items()
    ]


def join_role(name: str) -> Composable:
    """Makes an administrator who is no superuser a member, as Postgres demands of who makes databases for a role."""
    return SQL("GRANT {} TO CURRENT_USER").format(Identifier(name))


def create_database(name: str, owner: str, version: int) -> Composable:
    """A database; from template0, so that nothing an administrator left in template1 is in it.

    Its files are copied, as all were before version 15: read and written block by block, as by default since then, each
    took 8 MB of Postgres' memory and log.
    """
    create = SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'{}")
    strategy = SQL(" STRATEGY FILE_COPY" if version >= 150000 else "")
    return create.format(Identifier(name), Identifier(owner), strategy)


def own_database(name: str, owner: str) -> Composable:
    """Gives a database that somebody else made to its owner."""
    return SQL("ALTER DATABASE {} OWNER TO {}").format(Identifier(name), Identifier(owner))


def close_database(name: str) -> Composable:
    """Postgres lets every role into every database and use its disk for temporary tables; not here."""
    return SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(Identifier(name))


def connect(database: str, roles: Iterable[str]) -> Statements:
    """Lets roles into a database."""
    grant = SQL("GRANT CONNECT ON DATABASE {} TO {}")
    return [grant.format(Identifier(database), Identifier(role)) for role in roles]


def close_schema(owner: str, version: int) -> Statements:
    """Only the database's owner makes things in it. Before version 15 everybody could, and the schema was not its."""
    statements: Statements = []
    if version < 150000:
        statements.append(SQL("ALTER SCHEMA public OWNER TO {}").format(Identifier(owner)))
    statements.append(SQL("REVOKE ALL ON SCHEMA public FROM PUBLIC"))
    return statements


def grant_dagster(roles: Sequence[str], tables: Iterable[str], maintainers: Sequence[str] = ()) -> Statements:
    """Who does what in Dagster's own tables, as they are after its migration."""
    tables = sorted(tables)
    statements: Statements = []
    for role in roles:
        name = Identifier(role)
        statements.append(SQL("GRANT USAGE ON SCHEMA public TO {}").format(name))
        # Taken back first: a right that an older release gave must not outlive it. One transaction, so no gap.
        statements.append(SQL("REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM {}").format(name))
        if role == SERVICE:
            statements.append(SQL("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {}").format(name))
        for table in tables:
            on = Identifier("public", table)
            # From its columns as well.
            statements.append(SQL("REVOKE ALL ON {} FROM {}").format(on, name))
            rights = table_rights(role, table, maintainer=role in maintainers)
            statements.append(SQL("GRANT {} ON {} TO {}").format(SQL(", ").join(map(_right, rights)), on, name))
            if role != SERVICE and table in LOCATION_INSERTS:
                on = Identifier("public", sequence_of(table))
                statements.append(SQL("GRANT USAGE, SELECT ON SEQUENCE {} TO {}").format(on, name))
    return statements


@dataclass(frozen=True)
class Right:
    """A verb, and the columns that it is for: none means the whole table."""

    verb: str
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return as_text(self.verb, self.columns)


def as_text(verb: str, columns: Iterable[str]) -> str:
    """How a right is told."""
    named = ", ".join(sorted(columns))
    return f"{verb} ({named})" if named else verb


def table_rights(role: str, table: str, *, maintainer: bool = False) -> tuple[Right, ...]:
    """What a role may do in one of Dagster's tables. In one that is named nowhere a location reads."""
    if role == SERVICE:
        verbs = ("SELECT",) if table == "alembic_version" else ("SELECT", "INSERT", "UPDATE", "DELETE")
        return tuple(map(Right, verbs))
    rights = [Right("SELECT")]
    if table in LOCATION_INSERTS:
        rights.append(Right("INSERT", LOCATION_INSERTS[table]))
    if table in LOCATION_UPDATES:
        rights.append(Right("UPDATE", LOCATION_UPDATES[table]))
    if table in LOCATION_DELETES or (maintainer and table in MAINTAINER_DELETES):
        rights.append(Right("DELETE"))
    return tuple(rights)


def sequence_of(table: str) -> str:
    """What Dagster's tables number their rows by."""
    return f"{table}_id_seq"


def _right(right: Right) -> Composable:
    columns = SQL(", ").join(map(Identifier, right.columns))
    return SQL(right.verb + " ({})").format(columns) if right.columns else SQL(right.verb)


def grant_reader(lake: Lake, reader: str) -> Statements:
    """Lets a location read another's catalog: what is in it and what its owner will put there."""
    owner, role = Identifier(lake.owner), Identifier(reader)
    return [
        SQL("GRANT USAGE ON SCHEMA public TO {}").format(role),
        SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(role),
        SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA public GRANT SELECT ON TABLES TO {}").format(owner, role),
    ]


def revoke_reader(lake: Lake, reader: str) -> Statements:
    """Takes all of it back."""
    owner, role = Identifier(lake.owner), Identifier(reader)
    return [
        SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA public REVOKE ALL ON TABLES FROM {}").format(owner, role),
        SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(role),
        SQL("REVOKE ALL ON SCHEMA public FROM {}").format(role),
        SQL("REVOKE ALL ON DATABASE {} FROM {}").format(Identifier(lake.database), role),
    ]
