"""The whole project as one job, and the clock that may start it."""

import dagster as dg

from analytics.defs.models import models

build_all = dg.define_asset_job(
    "build_all",
    selection=dg.AssetSelection.assets(models),
    description="Every model and every test, whatever is new: after a change to the models, or by the clock.",
)

# Stopped, because the sensor in automation.py builds what is new when it is new. For a team that wants its figures at a
# fixed hour: start this and stop the sensor.
build_every_morning = dg.ScheduleDefinition(
    name="build_every_morning",
    job=build_all,
    cron_schedule="30 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
