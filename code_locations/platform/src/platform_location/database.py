"""Connections: as this location to Dagster's database, as a lake's owner to the lake's.

What is in a lake's database is its owner's: a table there may be a view, and a trigger on it runs with the rights of
whoever writes. So nobody but the owner ever works there, and code that is planted gains what it has already.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import psycopg2.extensions
from provisioning.plan import DAGSTER
from psycopg2.sql import Composable

from platform_kit import environment
from platform_kit.environment import PostgresCatalog
from platform_location import deployment

# Over what a database's owner sets for sessions in it: names mean the server's own, no lock is waited for long.
_OPTIONS = (
    "-c search_path=pg_catalog -c default_transaction_read_only=off -c lock_timeout=60s -c statement_timeout=30min "
    "-c timezone=UTC"
)


class Session:
    """A connection. Each statement is a transaction of its own, or all are one inside `transaction`."""

    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self._connection = connection

    def ask(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query; none of a statement that gives none."""
        with self._connection.cursor() as cursor:
            cursor.execute(question, values)
            return list(cursor.fetchall()) if cursor.description else []

    def count(self, statement: str, *values: Any) -> int:
        """How many rows a statement changed."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.rowcount

    def execute(self, statements: Iterable[Composable]) -> None:
        """All of them or, when one fails, none."""
        self._connection.autocommit = False
        try:
            with self._connection, self._connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        finally:
            self._connection.autocommit = True


def catalog_of(location: str) -> PostgresCatalog:
    """The catalog of a lake, as its owner reaches it."""
    own = environment.current("platform").code_location
    return PostgresCatalog(
        host=environment.setting("POSTGRES_HOST"),
        port=environment.port_setting("POSTGRES_PORT", 5432),
        database=environment.catalog_database(location),
        user=location,
        password=environment.secret("POSTGRES_PASSWORD") if location == own else deployment.secret_of(location),
    )


@contextmanager
def dagster() -> Iterator[Session]:
    """Dagster's database, as this location's role."""
    own = catalog_of(environment.current("platform").code_location)
    with _session(PostgresCatalog(own.host, own.port, DAGSTER, own.user, own.password)) as session:
        yield session


@contextmanager
def lake(location: str) -> Iterator[Session]:
    """A lake's catalog, as its owner."""
    with _session(catalog_of(location)) as session:
        yield session


@contextmanager
def _session(place: PostgresCatalog) -> Iterator[Session]:
    connection = psycopg2.connect(
        host=place.host,
        port=place.port,
        dbname=place.database,
        user=place.user,
        password=place.password.reveal(),
        connect_timeout=10,
        application_name="platform",
        options=_OPTIONS,
    )
    try:
        connection.autocommit = True
        yield Session(connection)
    finally:
        connection.close()
