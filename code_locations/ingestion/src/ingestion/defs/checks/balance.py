"""Checks that nothing was lost or doubled on the way: the lake has as many rows as the source."""

import warnings
from collections.abc import Iterator

import dagster as dg
from ingestion import days
from ingestion.tables import BY_DAY, FROM_API, Table

from platform_kit.checks import PartitionResult, evaluations
from platform_kit.database import Database
from platform_kit.http_api import HttpApiResource
from platform_kit.lake import LakeResource


@dg.definitions
def balance() -> dg.Definitions:
    """A partitioned check for what comes by day, a plain one for reference tables."""
    return dg.Definitions(asset_checks=[*map(_by_day, BY_DAY), *map(_whole, FROM_API)])


def _by_day(table: Table) -> dg.AssetChecksDefinition:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # checks with partitions are new in Dagster 1.13
        spec = dg.AssetCheckSpec(
            "as_many_rows_as_the_source",
            asset=table.asset_key,
            description="For each day: rows in the lake = rows in the source database.",
            partitions_def=days.DAYS,
        )

    @dg.multi_asset_check(name=f"{table.name}_balance", specs=[spec])
    def check_days(
        context: dg.AssetCheckExecutionContext, lake: LakeResource, source_database: dg.ResourceParam[Database]
    ) -> Iterator[dg.Output[None] | dg.AssetCheckEvaluation]:
        there = source_database.query(
            f"""
            SELECT make_date(year, month, day) AS day, count(*) AS rows
            FROM public.{table.name} WHERE {days.OF_THE_RUN} GROUP BY year, month, day
            """,  # noqa: S608  names from tables.py, values as parameters
            days.parameters(context.partition_time_window),
        )
        here = lake.query(
            f"SELECT {table.day_column}, count(*) FROM {lake.table(table.asset_key).sql} "  # noqa: S608
            f"WHERE {table.day_column} >= ? AND {table.day_column} < ? GROUP BY ALL",
            [moment.date() for moment in context.partition_time_window],
        )
        source_rows = {str(day): rows for day, rows in there.rows()}
        lake_rows = {str(day): rows for day, rows in here.rows()}
        results = {day: compared(source_rows.get(day, 0), lake_rows.get(day, 0)) for day in context.partition_keys}
        yield from evaluations(context, spec, results)

    return check_days


def _whole(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table.asset_key,
        name="as_many_rows_as_the_source",
        description="Rows in the lake = items that the API says it has.",
    )
    def check_all(lake: LakeResource, source_api: dg.ResourceParam[HttpApiResource]) -> dg.AssetCheckResult:
        there = source_api.get(f"/{table.name}", page=1, page_size=1)["total"]
        here = lake.query(f"SELECT count(*) FROM {lake.table(table.asset_key).sql}").item()  # noqa: S608
        result = compared(there, here)
        return dg.AssetCheckResult(passed=result.passed, metadata=result.metadata, description=result.description)

    return check_all


def compared(source: int, lake: int) -> PartitionResult:
    """The result for one partition or table."""
    difference = None if source == lake else f"The source has {source} rows, the lake {lake}."
    return PartitionResult(source == lake, {"source_rows": source, "lake_rows": lake}, difference)
