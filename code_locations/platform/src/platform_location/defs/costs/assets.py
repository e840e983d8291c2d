"""The two tables, and the schedule that fills them."""

from datetime import UTC, date, timedelta
from typing import Any

import dagster as dg

from platform_kit import environment
from platform_kit.frame import Frame
from platform_kit.lake import LakeIOManager, LakeResource
from platform_location.defs.costs import events
from platform_location.defs.costs.report import SUMMARY, by_day, page
from platform_location.deployment import OWNERS

GROUP = "costs"
# A day is a partition; today's is there, so that one can look before midnight.
DAYS = dg.DailyPartitionsDefinition(start_date="2026-11-01", end_offset=1)
TABLE = ["platform", "costs", "materialisations"]


@dg.asset(
    key=TABLE,
    description="What each materialisation of a day cost, in any location, as its event in the event log says.",
    partitions_def=DAYS,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "ducklake"},
    metadata={"partition_expr": "day", "partitioned_by": ["year(day)", "month(day)"]},
    io_manager_key="costs_io_manager",
)
def materialisations(context: dg.AssetExecutionContext) -> Frame:
    """Days are read anew as a whole, so that a day may be repeated."""
    import polars

    days = context.partition_keys
    found = events.of_days(context.instance, date.fromisoformat(min(days)), len(days))
    amount = sum(cost.amount for cost in found.costs)
    context.add_output_metadata(
        {
            "costs/amount": amount,
            "costs/cpu_seconds": sum(cost.cpu_seconds for cost in found.costs),
            "costs/without_cost": found.without_cost,
            "costs/unreadable": found.unreadable,
        }
    )
    schema: dict[str, Any] = {
        **{"event_id": polars.Int64, "day": polars.Date, "created_at": polars.Datetime("us")},
        **dict.fromkeys(["location", "team", "asset", "partition", "run_id"], polars.String),
        **dict.fromkeys(["cpu_seconds", "wall_seconds"], polars.Float64),
        **{"peak_memory_bytes": polars.Int64, "amount": polars.Float64, "currency": polars.String},
    }
    return polars.DataFrame(events.rows(found.costs), schema=schema)


@dg.asset(
    key=["platform", "costs", "report"],
    description="Costs by asset, location, team and day. The page is in the metadata of its materialisation.",
    deps=[TABLE],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"ducklake"},
    io_manager_key="costs_io_manager",
)
def report(context: dg.AssetExecutionContext, costs_lake: LakeResource) -> Frame:
    """All days that are in the table; the page shows the last thirty."""
    table = costs_lake.table(dg.AssetKey(TABLE))
    found = costs_lake.query(SUMMARY.format(table=table.sql))
    context.add_output_metadata({"costs/report": dg.MetadataValue.md(page(found)), **by_day(found)})
    return found


daily = dg.define_asset_job(
    "costs",
    selection=dg.AssetSelection.groups(GROUP),
    description="Collect a day's costs and write the report.",
)


@dg.definitions
def costs() -> dg.Definitions:
    """Each night, the day before; in production by itself."""
    on = environment.current("platform").is_production
    status = dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED

    @dg.schedule(job=daily, name="costs_daily", cron_schedule="10 1 * * *", default_status=status)
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        """The day that is over."""
        day = context.scheduled_execution_time.astimezone(UTC).date() - timedelta(days=1)
        return dg.RunRequest(partition_key=day.isoformat())

    return dg.Definitions(
        assets=[materialisations, report],
        jobs=[daily],
        schedules=[schedule],
        resources={
            "costs_io_manager": LakeIOManager(code_location="platform"),
            "costs_lake": LakeResource(code_location="platform"),
        },
    )
