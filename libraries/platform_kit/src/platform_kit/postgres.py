"""Postgres as a Dagster resource: connect, read into polars, upsert a frame by key.

Rows travel as CSV by COPY: a year of flights takes a second, and no Python object is made for each value.
"""

# ruff: noqa: S608  SQL is what this module builds: names are quoted, and a partition expression is the asset's own code.

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableResource

from platform_kit import postgres_types
from platform_kit.database import DatabaseError, checked_name, refuse_bad_keys
from platform_kit.environment import PostgresCatalog, Secret, port_setting, secret, setting
from platform_kit.redaction import redact

if TYPE_CHECKING:
    import polars
    from psycopg2.extensions import connection as Connection  # noqa: N812

_CONNECT_TIMEOUT_SECONDS = 10


class PostgresResource(ConfigurableResource[Any]):
    """A Postgres database that settings name by a common prefix.

    With the prefix SOURCE_DATABASE: SOURCE_DATABASE_HOST, _PORT, _NAME, _USER and the secret SOURCE_DATABASE_PASSWORD;
    _SSLMODE (prefer) and _SSLROOTCERT, as libpq knows them.
    They are read when a connection is made, so no password is in the resource's configuration, which Dagster shows.
    `database` says the database's name where the settings do not. `makes_tables` is false where migrations make them:
    then a run changes no table, and one that is not there, or lacks a column, is an error.
    """

    prefix: str
    database: str | None = None
    makes_tables: bool = True

    @contextmanager
    def connect(self) -> Iterator["Connection"]:
        """A connection whose block is one transaction: committed at its end, rolled back by an exception."""
        with (
            _connection(
                host=setting(f"{self.prefix}_HOST"),
                port=port_setting(f"{self.prefix}_PORT", 5432),
                database=self.database or setting(f"{self.prefix}_NAME"),
                user=setting(f"{self.prefix}_USER"),
                password=secret(f"{self.prefix}_PASSWORD"),
                tls=_tls(self.prefix),
            ) as connection,
            connection,
        ):
            yield connection

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> "polars.DataFrame":
        """The rows of a query as a polars frame; parameters are written `%(name)s`."""
        with self.connect() as connection, connection.cursor() as cursor:
            text = cursor.mogrify(sql.strip().rstrip(";"), parameters).decode()
            cursor.execute(f"SELECT * FROM ({text}) AS rows LIMIT 0")
            columns = {column.name: postgres_types.to_polars(column) for column in cursor.description or ()}
            content = io.BytesIO()
            cursor.copy_expert(f"COPY ({text}) TO STDOUT ({postgres_types.CSV})", content)
        content.seek(0)
        return postgres_types.read_csv(content, columns)

    def upsert(self, schema: str, table: str, frame: "polars.DataFrame", key: Sequence[str]) -> int:
        """Insert the rows, or update those whose key is there already; gives the number of rows of the table.

        The first call makes schema and table, a new column is added, unless migrations do that (`makes_tables`).
        Rows that are not in the frame stay.
        """
        refuse_bad_keys(f"{schema}.{table}", frame, key)
        target = f"{checked_name(schema)}.{checked_name(table)}"
        columns = {checked_name(name): postgres_types.of_polars(kind) for name, kind in frame.schema.items()}
        with self.connect() as connection, connection.cursor() as cursor:
            # Of two runs that make the same schema, table or rows, the second waits until the first has committed.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"upsert {target}",))
            if self.makes_tables:
                cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
                cursor.execute(_create_table(target, columns, key))
                for name, kind in columns.items():
                    cursor.execute(f"ALTER TABLE {target} ADD COLUMN IF NOT EXISTS {_quoted(name)} {kind}")
            else:
                _refuse_missing(cursor, schema, table, list(columns))
            cursor.execute(f"CREATE TEMPORARY TABLE incoming (LIKE {target}) ON COMMIT DROP")
            copy = f"COPY incoming ({_list(columns)}) FROM STDIN ({postgres_types.CSV})"
            cursor.copy_expert(copy, postgres_types.write_csv(frame))
            cursor.execute(_merge(target, list(columns), key))
            cursor.execute(f"SELECT count(*) FROM {target}")
            return int((cursor.fetchone() or (0,))[0])


@contextmanager
def advisory_lock(catalog: PostgresCatalog, name: str, patience_seconds: int) -> Iterator[None]:
    """Hold the lock `name` of a database; Postgres gives it back when the session ends, however it ends."""
    import psycopg2

    with _connection(catalog.host, catalog.port, catalog.database, catalog.user, catalog.password) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", (f"{patience_seconds}s",))
            try:
                cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
            except psycopg2.errors.LockNotAvailable:
                raise DatabaseError(
                    f"another run has held {name!r} for {patience_seconds} seconds; run this again when it has ended"
                ) from None
        yield


@contextmanager
def _connection(
    host: str, port: int, database: str, user: str, password: Secret, tls: Mapping[str, Any] | None = None
) -> Iterator["Connection"]:
    import psycopg2

    try:
        connection = psycopg2.connect(
            host=host,
            port=port,
            dbname=database,
            user=user,
            password=password.reveal(),
            connect_timeout=_CONNECT_TIMEOUT_SECONDS,
            application_name="platform_kit",
            **(tls or {}),
            # What dates look like must not hang on a server's or a role's setting.
            options="-c timezone=UTC -c datestyle=ISO -c intervalstyle=iso_8601",
        )
    except psycopg2.OperationalError as error:
        reason = redact(str(error).strip(), password.reveal())
        raise DatabaseError(f"cannot connect to database {database} at {host}:{port} as {user}: {reason}") from None
    try:
        yield connection
    finally:
        connection.close()


def _tls(prefix: str) -> dict[str, Any]:
    """PGSSLMODE and PGSSLROOTCERT are of the deployment's own server; another one has settings of its own."""
    if prefix == "POSTGRES":
        return {}
    return {
        "sslmode": setting(f"{prefix}_SSLMODE", "prefer"),
        # A file that is not there: with an empty one libpq would take the environment's.
        "sslrootcert": setting(f"{prefix}_SSLROOTCERT", "/nonexistent"),
    }


def _refuse_missing(cursor: Any, schema: str, table: str, columns: Sequence[str]) -> None:
    cursor.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
        (schema, table),
    )
    found = {name for (name,) in cursor.fetchall()}
    missing = [name for name in columns if name not in found]
    if missing:
        what = f"has no column {', '.join(missing)}" if found else "is not there"
        raise DatabaseError(
            f"table {schema}.{table} {what}: expected the location's migrations to have made it; write a revision, or "
            "apply it (docs/migrations.md)"
        )


def _create_table(target: str, columns: Mapping[str, str], key: Sequence[str]) -> str:
    lines = ", ".join(f"{_quoted(name)} {kind}" for name, kind in columns.items())
    return f"CREATE TABLE IF NOT EXISTS {target} ({lines}, PRIMARY KEY ({_list(key)}))"


def _merge(target: str, columns: Sequence[str], key: Sequence[str]) -> str:
    others = [_quoted(name) for name in columns if name not in key]
    action = "DO NOTHING"
    if others:
        # Rows that are the same already are left alone: no dead row, no write-ahead log.
        old = ", ".join(f"stored.{name}" for name in others)
        new = ", ".join(f"excluded.{name}" for name in others)
        action = f"DO UPDATE SET ({', '.join(others)}) = ROW({new}) WHERE ({old}) IS DISTINCT FROM ({new})"
    names = _list(columns)
    return f"INSERT INTO {target} AS stored ({names}) SELECT {names} FROM incoming ON CONFLICT ({_list(key)}) {action}"


def _list(names: Sequence[str] | Mapping[str, str]) -> str:
    return ", ".join(_quoted(name) for name in names)


def _quoted(name: str) -> str:
    return f'"{name}"'  # names are checked to be plain; the quotes keep words such as "user" usable
