"""Checks of other locations' tables, made here: nobody's own code vouches for itself."""

import dagster as dg
from platform_location import deployment, external
from platform_location.external import Watched

from platform_kit import environment


@dg.definitions
def tables() -> dg.Definitions:
    """One or two checks a table of external.yaml, and the schedule of them all."""
    kept = deployment.current().maintained
    watched = [one for one in external.read(external.FILE.read_text(encoding="utf-8")) if one.key.path[0] in kept]
    checks = [*map(_rows, watched), *(_fresh(one, one.max_age_hours) for one in watched if one.max_age_hours)]
    if not checks:
        return dg.Definitions()
    job = dg.define_asset_job(
        "check_external_tables",
        selection=dg.AssetSelection.checks(*checks),
        description="Look at other locations' tables from outside.",
    )
    on = environment.current("platform").is_production
    status = dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED
    schedule = dg.ScheduleDefinition(job=job, cron_schedule="30 6 * * *", default_status=status)
    return dg.Definitions([*map(_seen, watched)], asset_checks=checks, jobs=[job], schedules=[schedule])


def _seen(one: Watched) -> dg.AssetSpec:
    return dg.AssetSpec(
        one.seen,
        deps=[one.key],
        group_name="watched",
        owners=["team:platform"],
        kinds={"ducklake"},
        description=f"{one.asset}, as it is found from outside",
    )


def _rows(one: Watched) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=one.seen,
        name="rows_as_reported",
        description="The lake holds as many rows as the last materialisation told Dagster.",
    )
    def rows_as_reported(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        told = external.told(context.instance, one.key).rows
        rows = external.rows_of([one.key])[one.key]
        metadata = {name: value for name, value in (("lake_rows", rows), ("reported_rows", told)) if value is not None}
        # Nobody has told anything: nothing to hold it against.
        passed = told is None or rows == told
        found = "no such table" if rows is None else f"{rows} rows"
        return dg.AssetCheckResult(
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=metadata,
            description=None if passed else f"The lake has {found}; the last materialisation told of {told}.",
        )

    return rows_as_reported


def _fresh(one: Watched, most: float) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=one.seen,
        name="materialised_lately",
        description=f"The last materialisation is at most {most:g} hours old.",
    )
    def materialised_lately(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        age = external.told(context.instance, one.key).age_hours
        passed = age is not None and age <= most
        found = "It was never materialised" if age is None else f"The last materialisation is {age:.1f} hours old"
        return dg.AssetCheckResult(
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            metadata={} if age is None else {"age_hours": age},
            description=None if passed else f"{found}; expected at most {most:g}.",
        )

    return materialised_lately
