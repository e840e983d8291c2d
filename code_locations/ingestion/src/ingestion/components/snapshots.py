"""What is made for each table of a source: an asset that loads all of it, and a check that nothing was lost."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from ingestion.components import catalogue
from ingestion.components.catalogue import NamedTable
from ingestion.defs.checks.balance import compared
from platform_kit.database import Database
from platform_kit.frame import Frame
from platform_kit.lake import LakeResource

if TYPE_CHECKING:
    from ingestion.components.source_tables import SourceTables


def of(component: "SourceTables", tables: Sequence[NamedTable]) -> dg.Definitions:
    """The assets and checks of these tables."""
    return dg.Definitions(
        assets=[_asset(component, table) for table in tables],
        asset_checks=[_check(component, table) for table in tables],
    )


def _key(component: "SourceTables", table: NamedTable) -> dg.AssetKey:
    return dg.AssetKey([component.location, component.lake_schema, table.name])


def _asset(component: "SourceTables", table: NamedTable) -> dg.AssetsDefinition:
    there = f"{component.source_schema}.{table.source.name}"

    @dg.asset(
        key=_key(component, table),
        description=table.source.comment or f"{there} of {component.source}, as it was when it was last loaded",
        deps=[dg.AssetKey([component.source, component.source_schema, table.name])],
        group_name=f"{component.lake_schema}_tables",
        owners=component.owners,
        kinds={"postgres", "ducklake"},
        # Diagrams that are kept in git leave it out.
        tags={"found-in-state": ""},
        required_resource_keys={component.database},
        metadata={
            "dagster/column_schema": _schema(table),
            "source/table": there,
            # Nobody has looked at this table yet: its rows may be about people.
            "preview": False,
        },
    )
    def snapshot(context: dg.AssetExecutionContext) -> Frame:
        database: Database = getattr(context.resources, component.database)
        return database.query(catalogue.select(component.source_schema, table))

    return snapshot


def _check(component: "SourceTables", table: NamedTable) -> dg.AssetChecksDefinition:
    key = _key(component, table)

    @dg.asset_check(
        asset=key,
        name="as_many_rows_as_the_source",
        description="Rows in the lake = rows in the source now.",
        required_resource_keys={component.database, "lake"},
    )
    def check_all(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        database: Database = getattr(context.resources, component.database)
        lake: LakeResource = context.resources.lake
        there = database.query(catalogue.count(component.source_schema, table)).item()
        here = lake.query(f"SELECT count(*) FROM {lake.table(key).sql}").item()  # noqa: S608
        result = compared(there, here)
        return dg.AssetCheckResult(passed=result.passed, metadata=result.metadata, description=result.description)

    return check_all


def _schema(table: NamedTable) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                column.type,
                column.comment or (None if column.name == name else f"{column.name!r} in the source"),
                dg.TableColumnConstraints(nullable=not column.required),
            )
            for column, name in zip(table.source.columns, table.columns, strict=True)
        ]
    )
