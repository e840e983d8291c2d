"""Connections by the socket: as the superuser to Dagster's database, as a lake's owner to the lake's."""

import time
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
    # All rows of a cursor are read, not the first few.
    " -c cursor_tuple_fraction=1"
)
_AT_ONCE = 1000


class Session:
    """A connection on which each statement is a transaction of its own, unless `frozen` began one; with `until`, a
    monotonic time, all its statements together end by then."""

    def __init__(self, connection: psycopg2.extensions.connection, until: float | None = None) -> None:
        self._connection = connection
        self._until = until

    def ask(self, question: str | Composable, values: Values = None) -> list[tuple[Any, ...]]:
        """The rows of a query; none of a statement that gives none. Raises `TimeoutError` when the time is over."""
        with self._connection.cursor() as cursor:
            if self._until is not None:
                self._limit(cursor, self._until - time.monotonic())
            cursor.execute(question, values)
            return list(cursor.fetchall()) if cursor.description else []

    def each(self, question: str, values: Values = None) -> Iterator[tuple[Any, ...]]:
        """The rows of a query of a frozen session, a few at a time, for whoever may have enough before their end."""
        with self._connection.cursor("rows") as rows, self._connection.cursor() as cursor:
            while True:
                if self._until is not None:
                    self._limit(cursor, self._until - time.monotonic())
                if rows.query is None:
                    rows.execute(question, values)
                found = rows.fetchmany(_AT_ONCE)
                yield from found
                if not found:
                    return

    @staticmethod
    def _limit(cursor: psycopg2.extensions.cursor, left: float) -> None:
        # Before each statement anew: a function that a statement runs may set it for those that follow. The server
        # counts whole milliseconds, and what it ended for its time may have been ended with less than one to go.
        milliseconds = int(left * 1000)
        if milliseconds <= 0:
            raise TimeoutError
        cursor.execute("SET statement_timeout = %s", (milliseconds,))


@contextmanager
def session(
    sockets: Path, database: str, role: str = "postgres", *, frozen: bool = False, seconds: float | None = None
) -> Iterator[Session]:
    """A session; a frozen one sees the database as it was at its first question, and changes nothing. All that it is
    asked takes no longer than `seconds`."""
    until = None if seconds is None else time.monotonic() + seconds
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
        yield Session(connection, until)
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
