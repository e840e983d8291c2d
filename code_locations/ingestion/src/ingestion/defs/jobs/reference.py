"""The reference tables, whenever the API says that they are new."""

import dagster as dg
from ingestion.tables import FROM_API

from platform_kit.http_api import HttpApiResource

reference_tables = dg.define_asset_job(
    "reference_tables",
    selection=dg.AssetSelection.assets(*(table.asset_key for table in FROM_API)),
    description="Airlines, their contacts, airports and planes from the API, with their checks.",
)


@dg.sensor(job=reference_tables, minimum_interval_seconds=300)
def new_reference_version(
    context: dg.SensorEvaluationContext, source_api: HttpApiResource
) -> dg.SensorResult | dg.SkipReason:
    """Asks the API for its version; another one than last time starts a run, once."""
    version = str(source_api.get("/version")["version"])
    if version == context.cursor:
        return dg.SkipReason(f"The API still has version {version}")
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=f"version {version}")], cursor=version)
