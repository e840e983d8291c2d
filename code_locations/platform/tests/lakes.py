"""Lakes of the tests, written as their owners write them."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import duckdb

from .conftest import Server, password


@contextmanager
def lake(
    server: Server, root: Path, name: str = "ingestion", database: str | None = None, data: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A location's lake, with its own role; every insert is a file, as of a table that is not tiny."""
    connection = duckdb.connect()
    for extension in ("ducklake", "postgres_scanner"):
        folder = Path(str(resources.files(import_module(f"duckdb_extension_{extension}"))))
        (file,) = folder.rglob(f"{extension}.duckdb_extension")
        connection.execute(f"LOAD '{file}'")
    source = (
        f"ducklake:postgres:host=127.0.0.1 port={server.port} user={name} dbname={database or f'lake_{name}'} "
        f"password=''{password(f'{name}_database')}''"
    )
    options = f"DATA_PATH '{data or root / 'lake' / name}/', DATA_INLINING_ROW_LIMIT 0"
    connection.execute(f"ATTACH '{source}' AS lake ({options})")
    try:
        yield connection
    finally:
        connection.close()


def fill(connection: duckdb.DuckDBPyConnection, table: str = "raw.events", commits: int = 6, rows: int = 50) -> None:
    """A table of so many commits, each a small file."""
    connection.execute("CREATE SCHEMA IF NOT EXISTS lake.raw")
    connection.execute(f"CREATE TABLE IF NOT EXISTS lake.{table} (day date, number integer, note varchar)")
    for commit in range(commits):
        connection.execute(
            f"INSERT INTO lake.{table} SELECT DATE '2013-01-01' + {commit}, range::integer, 'note ' || range "
            f"FROM range({commit * rows}, {commit * rows + rows})"
        )


def contents(connection: duckdb.DuckDBPyConnection, table: str = "raw.events") -> tuple[Any, ...]:
    """Rows and a checksum of every value."""
    found = connection.execute(
        "SELECT count(*), sum(number), bit_xor(hash(day, number, note)), sum(hash(day, number, note) // 1024) "
        f"FROM lake.{table}"
    ).fetchall()
    return tuple(found[0])


def parquet(root: Path) -> set[str]:
    """The data files below a folder."""
    return {str(path.relative_to(root)) for path in root.rglob("*.parquet")}
