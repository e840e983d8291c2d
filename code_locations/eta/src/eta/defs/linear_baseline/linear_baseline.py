"""A second opinion in R: a linear model on the same features, judged by the same month."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from eta.days import HELD_OUT
from eta.defs.linear_baseline.r_script import run_r
from eta.tables import FEATURES, OWNERS, Column, Table

from platform_kit.lake import LakeResource

SCRIPT = Path(__file__).with_name("linear_baseline.R")
# Not the destination, whose hundred values would be a hundred coefficients; nor what is empty for many flights.
LEFT_OUT = {"dest", "wind_dir", "pressure"}
TERMS = [name for name, column in FEATURES.columns.items() if column.role and name not in LEFT_OUT]
READ = [*TERMS, "flight_date", "arr_delay"]
_SOURCES = tuple((FEATURES.asset_key, name) for name in READ)

LINEAR_BASELINE = Table(
    "model",
    "linear_baseline_r",
    {
        "term": Column("VARCHAR", "A number's name, or a category's with one of its values; (Intercept)"),
        "estimate": Column("DOUBLE", "Minutes lost under way for one more of it", _SOURCES),
        "standard_error": Column("DOUBLE", "Of the estimate, minutes", _SOURCES),
        "t_value": Column("DOUBLE", "Estimate by standard error", _SOURCES),
        "p_value": Column("DOUBLE", "Chance of such a t_value where the term has no influence", _SOURCES),
    },
)


@dg.asset(
    key=LINEAR_BASELINE.asset_key,
    description="A linear model in R, as a second opinion: its coefficients, and its error in the held-out month",
    deps=[FEATURES.asset_key],
    group_name="model",
    owners=OWNERS,
    kinds={"r", "ducklake"},
    metadata=LINEAR_BASELINE.metadata,
    check_specs=[
        dg.AssetCheckSpec(
            "better_than_no_model",
            asset=LINEAR_BASELINE.asset_key,
            description="Its error is smaller than that of expecting each flight as late as it left.",
        )
    ],
)
def linear_baseline_r(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult]:
    """Hands the features to R as a file and stores the coefficients that R leaves beside it."""
    import polars as pl

    with tempfile.TemporaryDirectory() as folder:
        features, coefficients = Path(folder, "features.csv"), Path(folder, "coefficients.csv")
        lake.query(f"SELECT {', '.join(READ)} FROM {lake.table(FEATURES.asset_key).sql}").write_csv(features)  # noqa: S608
        extras = {"features": str(features), "coefficients": str(coefficients)}
        result = run_r(context, SCRIPT, {**extras, "held_out": HELD_OUT.isoformat(), "terms": TERMS})
        found = pl.read_csv(coefficients, schema_overrides={"term": pl.String}, infer_schema_length=None)
    yield result._replace(value=found.with_columns(pl.exclude("term").cast(pl.Float64)))
