"""Runs inside a code server: counts the rows of some tables of its lake, by partition where it is told how.

Prints one line of JSON: for each asset whether there is a table, its rows, rows by partition, the lake's snapshot.
"""

# ruff: noqa: S608  Table names are quoted by the library, expressions are the location's own, as this process is.

import contextlib
import json
import sys
from typing import Any


def main() -> int:
    """Count and print; whatever the library prints itself goes to standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        found = [[asset, values] for asset, values in read(json.loads(sys.argv[1]))]
    print(json.dumps(found))
    return 0


def read(wanted: list[tuple[list[str], str | None]]) -> Any:
    """Each asset with what its table holds."""
    import duckdb
    from dagster import AssetKey

    from platform_kit.lake import LakeResource

    lake = LakeResource()
    with lake.connect() as connection:
        ((snapshot,),) = connection.execute(f"FROM ducklake_current_snapshot('{wanted[0][0][0]}')").fetchall()
        for asset, expression in wanted:
            try:
                yield asset, {**count(connection, lake.table(AssetKey(asset)).sql, expression), "snapshot": snapshot}
            except duckdb.CatalogException:
                yield asset, {"exists": False, "snapshot": snapshot}


def count(connection: Any, table: str, expression: str | None) -> dict[str, Any]:
    """Rows of a table, and by partition."""
    rows = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    if expression is None:
        return {"exists": True, "rows": rows}
    question = f"SELECT CAST(({expression}) AS VARCHAR), count(*) FROM {table} GROUP BY 1"
    partitions = {str(key): number for key, number in connection.execute(question).fetchall()}
    return {"exists": True, "rows": rows, "partitions": partitions}


if __name__ == "__main__":
    sys.exit(main())
