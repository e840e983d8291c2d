"""Predictions by day, by the model in force."""

import dagster as dg
from eta import days
from eta.stored import in_force
from eta.tables import ACCEPTED, FEATURES, OWNERS, PREDICTIONS

from platform_kit.frame import Frame
from platform_kit.lake import LakeResource


@dg.asset(
    key=PREDICTIONS.asset_key,
    description="The arrival delay of each flight as it is expected when the flight departs",
    ins={"features": dg.AssetIn(FEATURES.asset_key)},
    deps=[ACCEPTED.asset_key],
    partitions_def=days.DAYS,
    backfill_policy=days.IN_ONE_RUN,
    group_name="predictions",
    owners=OWNERS,
    kinds={"scikitlearn", "ducklake"},
    metadata={
        **PREDICTIONS.metadata,
        "partition_expr": "flight_date",
        "partitioned_by": ["year(flight_date)", "month(flight_date)"],
    },
)
def arrival_delays(context: dg.AssetExecutionContext, lake: LakeResource, features: Frame) -> Frame:
    """One row a flight, cancelled ones included."""
    import polars as pl
    from eta import model

    current = in_force(lake)
    # Each day tells which model it is by; the table's facts are told once, by the last.
    context.add_output_metadata({"model_version": current.version})
    context.add_asset_metadata(
        {"dagster/column_lineage": PREDICTIONS.lineage}, context.asset_key, context.partition_keys[-1]
    )
    return features.with_columns(
        model.predict(current.estimator(), features), model_version=pl.lit(current.version)
    ).select(list(PREDICTIONS.columns))
