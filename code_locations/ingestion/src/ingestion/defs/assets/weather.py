"""Weather by day, from the source database into the lake."""

import dagster as dg
from ingestion import days
from ingestion.tables import FRESH_FOR, OWNERS, WEATHER

from platform_kit.database import Database
from platform_kit.frame import Frame


@dg.asset(
    key=WEATHER.asset_key,
    description=WEATHER.description,
    deps=[WEATHER.source_key],
    partitions_def=days.DAYS,
    backfill_policy=days.IN_ONE_RUN,
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=FRESH_FOR),
    group_name="flights",
    owners=OWNERS,
    kinds={"postgres", "polars", "ducklake"},
    metadata={
        "dagster/column_schema": WEATHER.schema,
        "dagster/column_lineage": WEATHER.lineage,
        "partition_expr": "observation_date",
    },
)
def weather(context: dg.AssetExecutionContext, source_database: dg.ResourceParam[Database]) -> Frame:
    """The observations of the run's days."""
    return source_database.query(
        f"""
        SELECT make_date(year, month, day) AS observation_date, origin, year, month, day, hour,
               temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, pressure, visib, time_hour
        FROM public.weather WHERE {days.OF_THE_RUN}
        """,  # noqa: S608  a constant of this location; values are parameters
        days.parameters(context.partition_time_window),
    )
