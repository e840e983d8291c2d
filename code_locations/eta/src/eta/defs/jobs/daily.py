"""The day's predictions."""

import dagster as dg
from eta import days
from eta.tables import FEATURES, PREDICTIONS

predict = dg.define_asset_job(
    "predict",
    selection=dg.AssetSelection.assets(FEATURES.asset_key, PREDICTIONS.asset_key),
    description="Features and predictions of some days, by the model in force. A range of days is one run.",
)


@dg.schedule(job=predict, cron_schedule="0 7 * * *", execution_timezone="UTC")
def every_morning(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """At 07:00 UTC, after ingestion (06:00) and the marts (06:30), for the day that ingestion loads."""
    now = context.scheduled_execution_time
    day = days.same_day_of_2013(now.date()).isoformat()
    if day not in days.DAYS.get_partition_keys():
        return dg.SkipReason(f"{day} is outside the {len(days.DAYS.get_partition_keys())} days of this environment")
    return dg.RunRequest(run_key=now.date().isoformat(), partition_key=day)
