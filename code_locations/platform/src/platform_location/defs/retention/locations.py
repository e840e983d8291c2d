"""Compute logs and lake of each location that is kept in order, and the schedule of all retention."""

import time
from typing import Any

import dagster as dg
from platform_location import bucket_files, clones, compaction, database, deployment, files, history, lake_files
from platform_location.defs.retention.history import KEY
from platform_location.deployment import OWNERS, Deployment
from platform_location.settings import LakeRetention, LogRetention

from platform_kit import environment

_DAY = 86400
_SHOWN = 20


@dg.definitions
def retention() -> dg.Definitions:
    """Two assets a location; everything of the kind once a night."""
    here = deployment.current()
    assets = [make(here, name) for name in here.kept for make in (_logs_of, _lake_of)] if here.maintained else []
    nightly = dg.define_asset_job(
        "retention",
        selection=dg.AssetSelection.groups("retention"),
        description="Delete what is older than retention.yaml says, and write small files of lakes into larger ones.",
    )
    on = environment.current("platform").is_production and bool(here.maintained)
    status = dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED
    schedule = dg.ScheduleDefinition(job=nightly, cron_schedule="15 3 * * *", default_status=status)
    return dg.Definitions(assets=assets, jobs=[nightly], schedules=[schedule])


def _logs_of(_: Deployment, name: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=[*KEY, f"compute_logs_{name}"],
        description=f"What runs of {name} printed, deleted when it is old; of a run that goes on, never.",
        group_name="retention",
        owners=OWNERS,
        kinds={"file"},
    )
    def logs(context: dg.AssetExecutionContext, config: LogRetention) -> dg.MaterializeResult[Any]:
        """Follows no link, whatever the location has put there."""
        with database.dagster() as dagster:
            unfinished = history.unfinished_runs(dagster)
        root, before = deployment.logs_of(name), time.time() - config.days * _DAY
        pruned = files.prune(root, before, unfinished.__contains__, dry_run=config.dry_run)
        for left in pruned.left[:_SHOWN]:
            context.log.warning(f"left: {left}")
        return dg.MaterializeResult(
            metadata={
                "files_deleted": pruned.files,
                "bytes_freed": pruned.bytes,
                "left": len(pruned.left),
                "days": config.days,
                "dry_run": config.dry_run,
            }
        )

    return logs


def _lake_of(here: Deployment, name: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=[*KEY, f"lake_{name}"],
        description=f"The lake of {name}: small files written into larger ones, old snapshots given up, and the files "
        "deleted that no snapshot and no clone refers to.",
        group_name="retention",
        owners=OWNERS,
        kinds={"ducklake"},
    )
    def lake(context: dg.AssetExecutionContext, config: LakeRetention) -> dg.MaterializeResult[Any]:
        """As the lake's owner. Deletes nothing when a database may be a clone and does not say so."""
        with database.dagster() as dagster:
            copies = clones.of_lake(dagster, here.plan, environment.catalog_database(name))
        with database.lake(name) as catalog:
            if compaction.is_empty(catalog):
                return dg.MaterializeResult(metadata={"lake": "nothing was written to it yet"})
            return dg.MaterializeResult(metadata=_keep(context, name, catalog, copies, config))

    return lake


def _keep(
    context: dg.AssetExecutionContext,
    name: str,
    catalog: database.Session,
    copies: clones.Clones,
    config: LakeRetention,
) -> dict[str, Any]:
    dry = config.dry_run
    small = compaction.small_files(catalog, config.small_file_bytes, config.small_files)
    files_before = compaction.file_count(catalog)
    if small and not dry:
        compaction.compact(name, small)
    expired = compaction.expire(name, config.snapshot_days, dry_run=dry)
    if deployment.bucket_of(name) is None:
        root = deployment.lake_of(name)
        gone = lake_files.delete_given_up(catalog, root, config.file_days, copies, dry_run=dry)
        orphans = lake_files.delete_orphans(catalog, root, config.orphan_days, copies, dry_run=dry)
    else:
        gone = bucket_files.delete_given_up(name, config.file_days, copies, dry_run=dry)
        orphans = bucket_files.delete_orphans(name, config.orphan_days, copies, dry_run=dry)
    held = [*gone.held, *orphans.held]
    for one in held[:_SHOWN]:
        context.log.warning(f"held: {one}")
    return {
        "files_before": files_before,
        "files_after": compaction.file_count(catalog),
        "tables_compacted": [f"{one.schema}.{one.table}" for one in small],
        "snapshots_expired": expired,
        "files_deleted": gone.files + orphans.files,
        "orphans_deleted": orphans.files,
        "bytes_freed": gone.bytes + orphans.bytes,
        "held": len(held),
        "clones": list(copies.names),
        "dry_run": dry,
    }
