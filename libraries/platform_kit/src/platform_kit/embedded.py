"""A database in a DuckDB file, for work without a server: the same methods as PostgresResource."""

# ruff: noqa: S608  SQL is what this module builds: names are quoted, and a partition expression is the asset's own code.

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import ConfigurableResource

from platform_kit.database import checked_name, refuse_bad_keys
from platform_kit.lake.connection import literal, quoted, retried
from platform_kit.lake.frames import INCOMING, columns_of, register, to_polars

if TYPE_CHECKING:
    import polars
    from duckdb import DuckDBPyConnection

_PARAMETER = re.compile(r"%\((\w+)\)s")


class EmbeddedDatabase(ConfigurableResource[Any]):
    """A DuckDB file that understands what the assets ask Postgres. Of two processes at once one waits for the other."""

    path: str

    @contextmanager
    def connect(self) -> Iterator["DuckDBPyConnection"]:
        """A DuckDB connection to the file, which is made if it is not there."""
        import duckdb

        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(":memory:") as connection:
            # Opened itself, the file would be a catalog named like the file, and a schema of that name ambiguous.
            retried(lambda: connection.execute(f"ATTACH {literal(self.path)} AS embedded_database"))
            connection.execute("USE embedded_database")
            connection.execute("SET TimeZone = 'UTC'")  # as PostgresResource does
            # It joins two comparisons of rows, (year, month) >= … AND … < …, which Postgres understands, to an error.
            connection.execute("SET disabled_optimizers = 'filter_pushdown'")
            yield connection

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> "polars.DataFrame":
        """The rows of a query; parameters are written `%(name)s`, as for Postgres."""
        with self.connect() as connection:
            return to_polars(connection.sql(_PARAMETER.sub(r"$\1", sql), params=dict(parameters or {})))

    def upsert(self, schema: str, table: str, frame: "polars.DataFrame", key: Sequence[str]) -> int:
        """Insert the rows, or update those whose key is there already; gives the number of rows of the table."""
        refuse_bad_keys(f"{schema}.{table}", frame, key)
        target = f"{quoted(checked_name(schema))}.{quoted(checked_name(table))}"
        with self.connect() as connection:
            register(connection, frame)
            columns = columns_of(connection, INCOMING)
            keys = ", ".join(quoted(name) for name in key)
            lines = ", ".join(f"{quoted(checked_name(name))} {kind}" for name, kind in columns.items())
            others = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in columns if name not in key)
            action = f"DO UPDATE SET {others}" if others else "DO NOTHING"
            connection.execute("BEGIN TRANSACTION")
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
            connection.execute(f"CREATE TABLE IF NOT EXISTS {target} ({lines}, PRIMARY KEY ({keys}))")
            for name, kind in columns.items():
                connection.execute(f"ALTER TABLE {target} ADD COLUMN IF NOT EXISTS {quoted(name)} {kind}")
            connection.execute(f"INSERT INTO {target} BY NAME FROM {INCOMING} ON CONFLICT ({keys}) {action}")
            connection.execute("COMMIT")
            return int(connection.execute(f"SELECT count(*) FROM {target}").fetchall()[0][0])
