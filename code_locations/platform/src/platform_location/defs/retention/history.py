"""Events and records of old runs."""

from typing import Any

import dagster as dg
from platform_location import database, history
from platform_location.deployment import OWNERS
from platform_location.settings import EventRetention, RunRetention

KEY = ["platform", "retention"]


@dg.asset(
    key=[*KEY, "events"],
    description="Events of runs that have ended, deleted when old; the last of each asset and partition stays.",
    deps=[[*KEY, "runs"]],
    group_name="retention",
    owners=OWNERS,
    kinds={"postgres"},
)
def events(config: EventRetention) -> dg.MaterializeResult[Any]:
    """The room is used again by what comes; Postgres gives none back to the disk."""
    with database.dagster() as dagster:
        removed = history.prune_events(dagster, config.days, dry_run=config.dry_run)
    return dg.MaterializeResult(
        metadata={
            "rows_deleted": sum(one.rows for one in removed.values()),
            "bytes_freed": sum(one.bytes for one in removed.values()),
            **{f"{table}/rows_deleted": one.rows for table, one in removed.items()},
            "days": config.days,
            "dry_run": config.dry_run,
        }
    )


@dg.asset(
    key=[*KEY, "runs"],
    description="Records of runs that have ended, deleted with their events when they are old; a run that made what is "
    "still the last of an asset or of its checks stays.",
    group_name="retention",
    owners=OWNERS,
    kinds={"postgres"},
)
def runs(context: dg.AssetExecutionContext, config: RunRetention) -> dg.MaterializeResult[Any]:
    """By Dagster's own deletion of a run."""
    with database.dagster() as dagster:
        count, removed = history.delete_runs(context.instance, dagster, config.days, dry_run=config.dry_run)
    return dg.MaterializeResult(
        metadata={
            "runs_deleted": count,
            "rows_deleted": removed.rows,
            "bytes_freed": removed.bytes,
            "days": config.days,
            "dry_run": config.dry_run,
        }
    )
