"""The model in force: the last one that passed the gate."""

from datetime import UTC, datetime

import dagster as dg
from eta.stored import accepted, candidate
from eta.tables import ACCEPTED, EVALUATION, MODEL, OWNERS

from platform_kit.frame import Frame
from platform_kit.lake import LakeResource


@dg.asset(
    key=ACCEPTED.asset_key,
    description="Every model that passed the release gate; the latest is in force and makes the predictions",
    deps=[MODEL.asset_key, EVALUATION.asset_key],
    group_name="model",
    owners=OWNERS,
    kinds={"ducklake"},
    metadata=ACCEPTED.metadata,
)
def accepted_model(context: dg.AssetExecutionContext, lake: LakeResource) -> Frame:
    """Put the candidate in force.

    The check before it stops this step in its own run only. So the verdict is asked for once more here, for whoever
    materialises this asset alone, or while another run has stored another evaluation.
    """
    import polars as pl
    from eta import judging

    new, row = candidate(lake)
    found = judging.verdict(lake.query(f"FROM {lake.table(EVALUATION.asset_key).sql}"))
    if found.version != new.version:
        raise dg.Failure(
            f"The evaluation is of model {found.version}, the candidate is {new.version}: evaluate it first."
        )
    if not found.passed:
        raise dg.Failure(f"Model {new.version} does not pass the release gate: {'; '.join(found.objections)}")
    context.add_output_metadata({"version": new.version, "dagster/column_lineage": ACCEPTED.lineage})
    before = accepted(lake)
    if not before.is_empty() and before["version"][-1] == new.version:
        return before
    passed = row.with_columns(mae=pl.lit(found.errors[judging.CANDIDATE]), created_at=pl.lit(datetime.now(UTC)))
    return pl.concat([before, passed]) if not before.is_empty() else passed
