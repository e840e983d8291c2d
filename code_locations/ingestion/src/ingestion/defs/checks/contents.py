"""Checks of what a table holds: its columns, no empty values where there must be some, no key twice."""

from collections.abc import Iterator

import dagster as dg
from ingestion.tables import BY_DAY, FROM_API, Table

from platform_kit.lake import LakeResource


@dg.definitions
def contents() -> dg.Definitions:
    """Three checks a table, in one step that reads the table once for each."""
    return dg.Definitions(asset_checks=[_checks_of(table) for table in (*BY_DAY, *FROM_API)])


def _checks_of(table: Table) -> dg.AssetChecksDefinition:
    key = table.asset_key
    required = [name for name, column in table.columns.items() if not column.optional]

    @dg.multi_asset_check(
        name=f"{table.name}_contents",
        specs=[
            dg.AssetCheckSpec(
                "columns", asset=key, description="The columns are those of tables.py, by name and type."
            ),
            dg.AssetCheckSpec("no_empty_values", asset=key, description=f"Never empty: {', '.join(required)}."),
            dg.AssetCheckSpec(
                "unique_key", asset=key, description=f"No two rows have the same {', '.join(table.key)}."
            ),
        ],
    )
    def check_contents(lake: LakeResource) -> Iterator[dg.AssetCheckResult]:
        source = lake.table(key).sql
        with lake.connect() as connection:
            found = {row[0]: row[1] for row in connection.execute(f"DESCRIBE FROM {source}").fetchall()}
            counts = ", ".join(f"count(*) - count({name})" for name in required)
            empty = connection.execute(f"SELECT {counts} FROM {source}").fetchall()[0]  # noqa: S608
            twice = connection.execute(
                f"SELECT count(*) FROM (FROM {source} SELECT 1 GROUP BY {', '.join(table.key)} HAVING count(*) > 1)"  # noqa: S608
            ).fetchall()[0][0]
        yield columns_result(table, found)
        holes = {name: count for name, count in zip(required, empty, strict=True) if count}
        yield dg.AssetCheckResult(passed=not holes, check_name="no_empty_values", metadata={"empty_values": holes})
        yield dg.AssetCheckResult(passed=twice == 0, check_name="unique_key", metadata={"keys_found_twice": twice})

    return check_contents


def columns_result(table: Table, found: dict[str, str]) -> dg.AssetCheckResult:
    """What differs between the columns that are there and those that are declared."""
    expected = {name: column.type for name, column in table.columns.items()}
    differences = {
        name: f"expected {expected.get(name, 'no such column')}, found {found.get(name, 'none')}"
        for name in {**expected, **found}
        if expected.get(name) != found.get(name)
    }
    return dg.AssetCheckResult(passed=not differences, check_name="columns", metadata={"differences": differences})
