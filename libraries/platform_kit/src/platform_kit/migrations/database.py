"""The location's database: its connection, the lock that keeps migrations apart, who holds what."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from platform_kit.environment import PostgresCatalog
from platform_kit.migrations import MigrationError
from platform_kit.migrations.chain import SCHEMA
from platform_kit.redaction import redact

_CONNECT_TIMEOUT_SECONDS = 10
_LOCK_NOT_AVAILABLE = "55P03"
_HOLDERS_OF_ADVISORY = """
SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'this machine'), a.state, a.xact_start, 'the lock'
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND pid <> pg_backend_pid()
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended(:name, 0)"""
_HOLDERS_OF_TABLES = """
SELECT a.pid, a.application_name, coalesce(host(a.client_addr), 'this machine'), a.state, a.xact_start,
       string_agg(DISTINCT c.oid::regclass::text, ', ')
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid) JOIN pg_class AS c ON c.oid = l.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE l.locktype = 'relation' AND l.granted AND pid <> pg_backend_pid() AND c.relkind IN ('r', 'p', 'v', 'm')
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND nspname NOT IN ('public', 'information_schema') AND nspname !~ '^pg_'
GROUP BY 1, 2, 3, 4, 5 ORDER BY xact_start"""


def engine(catalog: PostgresCatalog) -> Engine:
    """Connections as the location's own role, each a new one."""
    arguments: dict[str, Any] = {
        "host": catalog.host,
        "port": catalog.port,
        "dbname": catalog.database,
        "user": catalog.user,
        "password": catalog.password.reveal(),
        "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        # What the one who has to wait is told.
        "application_name": f"migrations on {socket.gethostname()}",
        "options": "-c timezone=UTC",
    }
    return create_engine("postgresql+psycopg2://", connect_args=arguments, poolclass=NullPool)


class UnreachableError(MigrationError):
    """The database did not let us in."""


@contextmanager
def transaction(catalog: PostgresCatalog, *, keep: bool = True) -> Iterator[Connection]:
    """A connection whose block is one transaction: committed at its end (or, `keep` being false, never)."""
    try:
        connection = engine(catalog).connect()
    except OperationalError as error:
        reason = redact(" ".join(str(error.orig).split()), catalog.password.reveal())
        raise UnreachableError(
            f"cannot connect to {catalog.database} at {catalog.host}:{catalog.port} as {catalog.user}: {reason}"
        ) from None
    with connection:
        yield connection
        if keep:
            connection.commit()
        else:
            connection.rollback()


def revision_of(connection: Connection) -> str | None:
    """The revision that the tables are at; None when no migration was ever applied."""
    heads = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA}).get_current_heads()
    if len(heads) > 1:
        raise MigrationError(f"{SCHEMA}.alembic_version has {len(heads)} rows ({', '.join(heads)}); expected one")
    return heads[0] if heads else None


def was_migrated(connection: Connection) -> bool:
    """Whether a migration was ever applied, be it undone since."""
    return bool(connection.scalar(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": f"{SCHEMA}.alembic_version"}))


def hold_lock(connection: Connection, location: str, seconds: int) -> None:
    """Wait until no other migration of this location is at work; the lock ends with the transaction."""
    name = f"migrations of {location}"
    connection.execute(text("SELECT set_config('lock_timeout', :timeout, true)"), {"timeout": f"{seconds}s"})
    attempt = connection.begin_nested()
    try:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
    except DBAPIError as error:
        attempt.rollback()
        if not is_lock_timeout(error):
            raise
        holders = _told(connection, _HOLDERS_OF_ADVISORY, name)
        raise MigrationError(
            f"another migration of {location} has been at work for {seconds} s: {holders}; wait for it, or end its "
            "container, and repeat"
        ) from None
    attempt.commit()


def holders_of_tables(catalog: PostgresCatalog) -> str:
    """Who has locks on tables of the location, in words; for somebody who waited in vain."""
    with transaction(catalog) as connection:
        return _told(connection, _HOLDERS_OF_TABLES)


def is_lock_timeout(error: DBAPIError) -> bool:
    """Whether Postgres gave up waiting for a lock."""
    return getattr(error.orig, "pgcode", None) == _LOCK_NOT_AVAILABLE


def _told(connection: Connection, question: str, name: str = "") -> str:
    rows = connection.execute(text(question), {"name": name} if name else {}).all()
    return (
        "; ".join(
            f"process {pid} ({who or 'unnamed'} from {where}, {state}"
            f"{f' since {since:%H:%M:%S} UTC' if since else ''}) holds {what}"
            for pid, who, where, state, since, what in rows
        )
        or "whoever held it has just ended"
    )
