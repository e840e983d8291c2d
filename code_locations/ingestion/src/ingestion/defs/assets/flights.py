"""Flights by day, from the source database into the lake."""

import dagster as dg
from ingestion import days
from ingestion.tables import FLIGHTS, FRESH_FOR, OWNERS

from platform_kit.database import Database
from platform_kit.frame import Frame


@dg.asset(
    key=FLIGHTS.asset_key,
    description=FLIGHTS.description,
    deps=[FLIGHTS.source_key],
    partitions_def=days.DAYS,
    backfill_policy=days.IN_ONE_RUN,
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=FRESH_FOR),
    group_name="flights",
    owners=OWNERS,
    kinds={"postgres", "polars", "ducklake"},
    metadata={
        "dagster/column_schema": FLIGHTS.schema,
        "dagster/column_lineage": FLIGHTS.lineage,
        "partition_expr": "flight_date",
        # Files by month: rewriting a day touches that month's files only, and a year is twelve files instead of 365.
        "partitioned_by": ["year(flight_date)", "month(flight_date)"],
    },
)
def flights(context: dg.AssetExecutionContext, source_database: dg.ResourceParam[Database]) -> Frame:
    """The flights of the run's days: one query, whether for a day or for a year."""
    return source_database.query(
        f"""
        SELECT make_date(year, month, day) AS flight_date, year, month, day,
               dep_time, sched_dep_time, dep_delay, arr_time, sched_arr_time, arr_delay,
               carrier, flight, tailnum, origin, dest, air_time, distance, hour, minute, time_hour
        FROM public.flights WHERE {days.OF_THE_RUN}
        """,  # noqa: S608  a constant of this location; values are parameters
        days.parameters(context.partition_time_window),
    )
