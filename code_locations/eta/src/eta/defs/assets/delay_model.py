"""A new model, from the features of all days before the held-out month."""

import time

import dagster as dg
from eta import days
from eta.stored import features
from eta.tables import FEATURES, MODEL, OWNERS

from platform_kit.frame import Frame
from platform_kit.lake import LakeResource


@dg.asset(
    key=MODEL.asset_key,
    description="The model that was trained last: a candidate, good or not",
    deps=[FEATURES.asset_key],
    group_name="model",
    owners=OWNERS,
    kinds={"scikitlearn", "ducklake"},
    metadata=MODEL.metadata,
)
def delay_model(context: dg.AssetExecutionContext, lake: LakeResource) -> Frame:
    """Train, and store the model in a file that is named by its content."""
    import polars as pl
    from eta import model

    rows = features(lake)
    started = time.monotonic()
    trained = model.train(rows)
    seconds = round(time.monotonic() - started, 2)
    version, file = model.store(trained.estimator, days.HERE.lake_data_path() / "models")
    context.add_output_metadata(
        {
            "version": version,
            "training_seconds": seconds,
            "file_bytes": file.stat().st_size,
            "dagster/column_lineage": MODEL.lineage,
        }
    )
    return pl.DataFrame(
        {
            "version": [version],
            "file": [str(file)],
            "trained_from": [trained.first],
            "trained_until": [trained.last],
            "flights": [trained.flights],
            "trees": [trained.trees],
            "libraries": [model.libraries()],
        }
    )
