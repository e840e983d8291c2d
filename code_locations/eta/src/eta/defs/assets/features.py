"""Features by day, from ingestion's flights and weather and from a mart of analytics."""

import dagster as dg
from eta import days
from eta.tables import BY_DAY, FEATURES, FLIGHTS, OWNERS, WEATHER

from platform_kit.frame import Frame
from platform_kit.lake import LakeResource


@dg.asset(
    key=FEATURES.asset_key,
    description="What is known of each flight when it departs, and, to learn from, how late it arrived",
    deps=[FLIGHTS, WEATHER, BY_DAY],
    partitions_def=days.DAYS,
    backfill_policy=days.IN_ONE_RUN,
    group_name="features",
    owners=OWNERS,
    kinds={"polars", "ducklake"},
    metadata={
        **FEATURES.metadata,
        "partition_expr": "flight_date",
        "partitioned_by": ["year(flight_date)", "month(flight_date)"],
    },
)
def flights(context: dg.AssetExecutionContext, lake: LakeResource) -> Frame:
    """The features of the run's days."""
    from eta.features import of_flights

    window = [moment.date() for moment in context.partition_time_window]
    places = {key.path[-1]: lake.table(key).sql for key in (FLIGHTS, WEATHER, BY_DAY)}
    inside = "WHERE {0} >= ? AND {0} < ?"
    context.add_asset_metadata(
        {"dagster/column_lineage": FEATURES.lineage}, context.asset_key, context.partition_keys[-1]
    )
    return of_flights(
        lake.query(f"FROM {places['flights']} {inside.format('flight_date')}", window, reads=["ingestion"]),
        # Of the run's days alone: a flight in the first hour of the first day goes without weather.
        lake.query(f"FROM {places['weather']} {inside.format('observation_date')}", window, reads=["ingestion"]),
        lake.query(f"FROM {places['delays_by_day']}", reads=["analytics"]),
    )
