"""The database server: connections that explain their failure, questions about what is there, execution."""

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg2
import psycopg2.extensions
from psycopg2.sql import Composable

from migrate.errors import MigrationError
from migrate.settings import Settings

OLDEST_VERSION = 140000
MAINTENANCE = "postgres"
# Any number that no other program on the server uses for its own locks; the same for all of this deployment's.
LOCK = 7_301_944_626
_REACH_SECONDS = 120
_LOGIN_SECONDS = 20
_LOCK_SECONDS = 300
_SAY_EVERY = 10

Say: TypeAlias = Callable[[str], None]
Connection: TypeAlias = psycopg2.extensions.connection


def connect(settings: Settings, role: str, password: str, database: str, timeout: int = 10) -> Connection:
    """One try to log in. PGSSLMODE and the like are libpq's own and reach it by the environment."""
    return psycopg2.connect(
        host=settings.host,
        port=settings.port,
        user=role,
        password=password,
        dbname=database,
        connect_timeout=timeout,
        application_name="migrate",
        # Over what the owner of a database sets for its sessions; and nobody's open transaction holds up the start.
        options="-c default_transaction_read_only=off -c lock_timeout=60s",
    )


def wait_until_reachable(settings: Settings, say: Say, seconds: float = _REACH_SECONDS) -> None:
    """Wait for the server's port, telling how it goes. Raises `MigrationError` when it does not open."""
    where = f"{settings.host}:{settings.port}"
    started = said = time.monotonic()
    while True:
        try:
            socket.create_connection((settings.host, settings.port), timeout=5).close()
            return
        except OSError as error:
            waited = time.monotonic() - started
            if waited >= seconds:
                raise MigrationError(
                    f"The database server at {where} did not answer within {seconds:g} s ({error}); "
                    "check that it runs, and POSTGRES_HOST, POSTGRES_PORT and the network in between."
                ) from error
            if time.monotonic() - said >= _SAY_EVERY:
                said = time.monotonic()
                say(f"still waiting for the database server at {where} ({error}), {seconds - waited:.0f} s left")
        time.sleep(min(1, seconds))


def connect_admin(settings: Settings, database: str = MAINTENANCE, seconds: float = _LOGIN_SECONDS) -> Connection:
    """A connection of the administrator. A server that is just starting says no for a moment: tried again."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return connect(settings, settings.admin, settings.admin_password, database)
        except psycopg2.OperationalError as error:
            if time.monotonic() >= deadline:
                raise MigrationError(
                    f"The server at {settings.host}:{settings.port} did not let {settings.admin} into the database "
                    f"{database}: {one_line(error)}. If it is the password: secrets/postgres_password must hold the "
                    "one that the server knows (the bundled server takes it over when it restarts)."
                ) from error
        time.sleep(2)


def one_line(error: BaseException) -> str:
    """What a server said, without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def check_version(connection: Connection) -> int:
    """The server's version as a number; one that is too old is an error."""
    version = int(connection.server_version)
    if version < OLDEST_VERSION:
        raise MigrationError(
            f"The server is PostgreSQL {version // 10000}; expected {OLDEST_VERSION // 10000} or later (17 is bundled)."
        )
    return version


@contextmanager
def only_one(connection: Connection, say: Say, seconds: float = _LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock that keeps a second migration waiting. It ends with the connection at the latest."""
    deadline = time.monotonic() + seconds
    told = False
    while not ask(connection, "SELECT pg_try_advisory_lock(%s)", LOCK)[0][0]:
        if time.monotonic() >= deadline:
            raise MigrationError(
                f"Another migration has held the lock for {seconds:g} s: end it, or its session "
                "(the view pg_locks shows it, locktype advisory)."
            )
        if not told:
            say("another migration is at work; waiting for it to end")
            told = True
        time.sleep(1)
    try:
        yield
    finally:
        if not connection.closed:
            ask(connection, "SELECT pg_advisory_unlock(%s)", LOCK)


def ask(connection: Connection, question: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with connection.cursor() as cursor:
        cursor.execute(question, values)
        return list(cursor.fetchall())


def execute(connection: Connection, statements: Iterable[Composable]) -> None:
    """Execute statements in order, in one transaction unless the connection commits by itself."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def database(settings: Settings, name: str) -> Iterator[Connection]:
    """A connection of the administrator to one database; what is done there is done wholly or not at all."""
    connection = connect_admin(settings, name)
    try:
        with connection:
            yield connection
    finally:
        connection.close()
