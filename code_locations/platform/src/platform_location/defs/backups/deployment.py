"""The backup of the whole deployment as an asset, when it is taken, and whether one could come back."""

from typing import Any, Literal

import dagster as dg
from platform_location import backups, database, deployment
from platform_location.deployment import OWNERS

from platform_kit import environment

KEY = ["platform", "backups", "deployment"]
CHECK = "restorable"
# A schedule that is daily at the least, and the time that a backup takes.
_OLDEST_SECONDS = 26 * 3600.0


class Backup(dg.Config):
    """What is copied, and whether all is read again."""

    kind: Literal["incremental", "full"] = "incremental"
    verify: bool = False


@dg.definitions
def backup() -> dg.Definitions:
    """One asset, one check, and two schedules; none where there are no backups."""
    if environment.setting("BACKUPS", "off") != "on" or not deployment.current().maintained:
        return dg.Definitions()
    job = dg.define_asset_job(
        "back_up",
        selection=dg.AssetSelection.assets(KEY) | dg.AssetSelection.checks_for_assets(KEY),
        description="Copy database, lakes, audit log, settings and secrets into the repository of backups.",
    )
    on = environment.current("platform").is_production
    status = dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED
    schedules = [
        dg.ScheduleDefinition(
            name=name,
            job=job,
            cron_schedule=environment.setting(variable, cron),
            run_config={"ops": {"__".join(KEY): {"config": {"kind": kind}}}},
            default_status=status,
        )
        for name, variable, cron, kind in (
            ("backup_schedule", "BACKUP_SCHEDULE", "17 * * * *", "incremental"),
            ("full_backup_schedule", "BACKUP_FULL_SCHEDULE", "47 1 * * 0", "full"),
        )
    ]
    return dg.Definitions(assets=[copied], asset_checks=[restorable], jobs=[job], schedules=schedules)


@dg.asset(
    key=KEY,
    description="Database, lakes, audit log, settings and secrets in the repository of backups; fails when a file that "
    "a catalog names is not there, or what was written reads otherwise.",
    group_name="backups",
    owners=OWNERS,
    kinds={"postgres", "ducklake"},
)
def copied(context: dg.AssetExecutionContext, config: Backup) -> dg.MaterializeResult[Any]:
    """Asks the service, and waits."""
    with database.dagster() as dagster:
        number = backups.ask(dagster, config.kind, verify=config.verify)
        context.log.info(f"asked for a {config.kind} backup, request {number}")
        try:
            result = backups.wait(dagster, number)
        except backups.BackupFailedError as error:
            # Tried again, it would fail again: what is wrong is told, and the schedule comes round.
            raise dg.Failure(str(error), allow_retries=False) from error
    return dg.MaterializeResult(metadata={key: value for key, value in result.items() if value is not None})


@dg.asset_check(
    asset=KEY,
    name=CHECK,
    description="The newest backup is not older than a day, and the database's log gets through to the repository.",
)
def restorable() -> dg.AssetCheckResult:
    """From the database's own statistics."""
    with database.dagster() as dagster:
        found = backups.health(dagster)
    problems = []
    if found.age_seconds is None:
        problems.append("there is no backup")
    elif found.age_seconds > _OLDEST_SECONDS:
        problems.append(f"the newest backup is {found.age_seconds / 3600:.0f} hours old")
    if found.stuck:
        problems.append(f"{found.stuck} does not get through to the repository; the log of postgres says why")
    age = {} if found.age_seconds is None else {"age_seconds": found.age_seconds}
    return dg.AssetCheckResult(passed=not problems, description="; ".join(problems) or None, metadata=age)
