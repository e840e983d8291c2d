"""Connections by the socket: as the superuser to Dagster's database, as a lake's owner to the lake's."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2.sql import Composable

from backup.errors import BackupError

Values = Sequence[Any] | Mapping[str, Any] | None

# Over what a database's owner sets for sessions in it: names mean the server's own, nothing is waited for without end.
_OPTIONS = (
    "-c search_path=pg_catalog -c default_transaction_read_only=off -c lock_timeout=60s -c statement_timeout=10min"
)


class Session:
    """A connection on which each statement is a transaction of its own, unless `frozen` began one."""

    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self._connection = connection

    def ask(self, question: str | Composable, values: Values = None) -> list[tuple[Any, ...]]:
        """The rows of a query; none of a statement that gives none."""
        with self._connection.cursor() as cursor:
            cursor.execute(question, values)
            return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def session(sockets: Path, database: str, role: str = "postgres", *, frozen: bool = False) -> Iterator[Session]:
    """A session; a frozen one sees the database as it was at its first question, and changes nothing."""
    connection = psycopg2.connect(
        host=str(sockets),
        dbname=database,
        user=role,
        connect_timeout=10,
        application_name="backup",
        options=_OPTIONS + " -c timezone=UTC",
    )
    try:
        if frozen:
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        else:
            connection.autocommit = True
        yield Session(connection)
    finally:
        connection.close()


@contextmanager
def telling() -> Iterator[None]:
    """What the server or the way to it refuses becomes an error that says what to do."""
    try:
        yield
    except psycopg2.OperationalError as error:
        raise BackupError(
            f"Postgres does not answer: {' '.join(str(error).split())}",
            "the service postgres running",
            "start the deployment: ./stack up",
        ) from error
    except psycopg2.Error as error:
        raise BackupError(f"Postgres refuses: {' '.join(str(error).split())}", "an answer", "./stack doctor") from error
