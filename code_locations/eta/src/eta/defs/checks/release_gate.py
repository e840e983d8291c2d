"""The gate: what does not pass it goes nowhere."""

import dagster as dg
from eta.tables import EVALUATION

from platform_kit.lake import LakeResource


@dg.asset_check(
    asset=EVALUATION.asset_key,
    blocking=True,
    description="Better than every baseline and not worse than the model in force; else nothing after it runs.",
)
def release_gate(lake: LakeResource) -> dg.AssetCheckResult:
    """Judge the evaluation that is in the lake."""
    from eta import judging

    found = judging.verdict(lake.query(f"FROM {lake.table(EVALUATION.asset_key).sql}"))
    return dg.AssetCheckResult(
        passed=found.passed,
        description="; ".join(found.objections) or None,
        metadata={"version": found.version, **{f"mae/{name}": value for name, value in found.errors.items()}},
    )
