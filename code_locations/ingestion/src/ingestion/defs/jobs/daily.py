"""The day's flights and weather, every morning."""

import dagster as dg
from ingestion import days
from ingestion.tables import BY_DAY

daily_flights = dg.define_asset_job(
    "daily_flights",
    selection=dg.AssetSelection.assets(*(table.asset_key for table in BY_DAY)),
    description="Flights and weather of some days, with their checks. A range of days is one run.",
)


@dg.schedule(job=daily_flights, cron_schedule="0 6 * * *", execution_timezone="UTC")
def every_morning(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """At 06:00 UTC, for one day.

    The sample's data ends in 2013, so "yesterday" is the day of 2013 with today's month and day. A source that goes on
    would use `dg.build_schedule_from_partitioned_job(daily_flights)`, which takes the last finished day.
    """
    now = context.scheduled_execution_time
    day = days.same_day_of_2013(now.date()).isoformat()
    if day not in days.DAYS.get_partition_keys():
        return dg.SkipReason(f"{day} is outside the {len(days.DAYS.get_partition_keys())} days of this environment")
    return dg.RunRequest(run_key=now.date().isoformat(), partition_key=day)
