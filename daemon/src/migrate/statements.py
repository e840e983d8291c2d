"""The SQL that makes a server what the plan says. Pure: what is there comes in, statements come out."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from psycopg2.sql import SQL, Composable, Identifier, Literal

from migrate.plan import LOCATION_DELETES, LOCATION_READS, LOCATION_UPDATES, SERVICE, Lake, Role

Statements: TypeAlias = list[Composable]


def create_role(name: str) -> Composable:
    """A role that may do nothing yet."""
    return SQL("CREATE ROLE {} NOLOGIN").format(Identifier(name))


def alter_role(role: Role, verifier: str, *, superuser: bool) -> Statements:
    """Login, limits and the password, as a verifier. Only a superuser may say what a role is not."""
    powers = " NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS" if superuser else ""
    name = Identifier(role.name)
    alter = SQL("ALTER ROLE {} WITH LOGIN" + powers + " CONNECTION LIMIT {} PASSWORD {}")
    return [alter.format(name, Literal(role.connections), Literal(verifier))]


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


def create_database(name: str, owner: str) -> Composable:
    """A database; from template0, so that nothing an administrator left in template1 is in it."""
    create = SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'")
    return create.format(Identifier(name), Identifier(owner))


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


def grant_dagster(locations: Sequence[str], tables: Iterable[str]) -> Statements:
    """Who does what in Dagster's own tables, as they are after its migration."""
    tables = sorted(tables)
    statements: Statements = []
    for role in (SERVICE, *locations):
        name = Identifier(role)
        statements.append(SQL("GRANT USAGE ON SCHEMA public TO {}").format(name))
        statements.append(SQL("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {}").format(name))
        for table in tables:
            # Taken back first: a right that an older release gave must not outlive it. One transaction, so no gap.
            on = Identifier("public", table)
            statements.append(SQL("REVOKE ALL ON {} FROM {}").format(on, name))
            statements.append(SQL("GRANT " + table_rights(role, table) + " ON {} TO {}").format(on, name))
    return statements


def table_rights(role: str, table: str) -> str:
    """What a role may do in one of Dagster's tables."""
    if role == SERVICE:
        return "SELECT" if table == "alembic_version" else "SELECT, INSERT, UPDATE, DELETE"
    if table in LOCATION_READS:
        return "SELECT"
    if table in LOCATION_UPDATES:
        return "SELECT, UPDATE"
    return "SELECT, INSERT, UPDATE, DELETE" if table in LOCATION_DELETES else "SELECT, INSERT, UPDATE"


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
