"""A new model every month."""

import dagster as dg
from eta.tables import ACCEPTED, EVALUATION, MODEL

train_and_release = dg.define_asset_job(
    "train_and_release",
    selection=dg.AssetSelection.assets(MODEL.asset_key, EVALUATION.asset_key, ACCEPTED.asset_key),
    description="Train a model, judge it and, where it passes the gate, put it in force.",
)

every_month = dg.ScheduleDefinition(
    name="every_month",
    job=train_and_release,
    cron_schedule="30 7 1 * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
