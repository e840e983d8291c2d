"""Runs in a code location's environment, for its DuckDB: the sample's tables in a file, under Postgres' names."""

import sys
from pathlib import Path

import duckdb
from sample_source.tables import MISSING, TABLES, header  # type: ignore[import-not-found]


def main(tables: str, database: str) -> None:
    """Made beside its place and renamed when it is whole."""
    unfinished = Path(f"{database}.unfinished")
    unfinished.unlink(missing_ok=True)
    with duckdb.connect(str(unfinished)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE SCHEMA IF NOT EXISTS public")
        for table in TABLES.values():
            columns = ", ".join(f"{name} {table.columns[name]}" for name in header(Path(tables), table))
            connection.execute(f"CREATE TABLE public.{table.name} ({columns})")
            file = f"{tables}/{table.name}.csv".replace("'", "''")
            connection.execute(f"COPY public.{table.name} FROM '{file}' (HEADER, NULLSTR '{MISSING}')")
    unfinished.replace(database)


if __name__ == "__main__":
    main(*sys.argv[1:])
