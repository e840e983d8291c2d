"""Airlines, airports and planes, from the HTTP API into Postgres (to look up) and into the lake (to analyse)."""

from typing import Any

import dagster as dg
from ingestion.tables import OWNERS, REFERENCE, REFERENCE_SCHEMA, Table

from platform_kit.database import Database
from platform_kit.frame import Frame
from platform_kit.http_api import HttpApiResource


@dg.definitions
def reference_tables() -> dg.Definitions:
    """One asset a table; they differ in nothing but the table."""
    return dg.Definitions(assets=[_asset_of(table) for table in REFERENCE])


def _asset_of(table: Table) -> dg.AssetsDefinition:
    @dg.asset(
        key=table.asset_key,
        description=table.description,
        deps=[table.source_key],
        group_name="reference",
        owners=OWNERS,
        kinds={"api", "postgres", "ducklake"},
        metadata={"dagster/column_schema": table.schema, "dagster/column_lineage": table.lineage},
    )
    def rows_of_the_api(
        context: dg.AssetExecutionContext,
        source_api: dg.ResourceParam[HttpApiResource],
        reference_database: dg.ResourceParam[Database],
    ) -> Frame:
        rows = frame_of(table, source_api.items(f"/{table.name}"))
        stored = reference_database.upsert(REFERENCE_SCHEMA, table.name, rows, table.key)
        context.add_output_metadata(
            {"postgres/table": f"{REFERENCE_SCHEMA}.{table.name}", "postgres/row_count": stored}
        )
        return rows

    return rows_of_the_api


def frame_of(table: Table, items: list[dict[str, Any]]) -> Frame:
    """The API's items as a frame with the table's types; an error when a field has gone or is new."""
    import polars

    found = {name for item in items for name in item}
    if items and found != set(table.columns):
        raise dg.Failure(
            f"/{table.name} has the fields {sorted(found)}, expected {sorted(table.columns)}: the API has changed"
        )
    types = {"VARCHAR": polars.String, "INTEGER": polars.Int32, "DOUBLE": polars.Float64}
    return polars.DataFrame(items, schema={name: types[column.type] for name, column in table.columns.items()})
