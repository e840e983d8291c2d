"""Role, databases and rights of each location, as an asset with a check: the check compares, materialising mends."""

from typing import Any

import dagster as dg
from platform_location import deployment, provisioning_of
from platform_location.deployment import OWNERS, Deployment
from provisioning.drift import Drift

KEY = ["platform", "provisioning"]
CHECK = "as_access_yaml_says"
REMEDY = "run ./stack up: making a role or a database, and setting its password, is the migration's alone"


@dg.definitions
def provisioning() -> dg.Definitions:
    """One asset and one check a maintained location, and two schedules: to compare, and to mend."""
    here = deployment.current()
    assets = [_asset_of(here, name) for name in here.maintained]
    checks = [_check_of(here, name) for name in here.maintained]
    if not assets:
        return dg.Definitions()
    compared = dg.define_asset_job(
        "compare_provisioning",
        selection=dg.AssetSelection.checks(*checks),
        description="Compare roles, databases and rights of all locations with workspace.yaml and access.yaml.",
    )
    mended = dg.define_asset_job(
        "mend_provisioning",
        selection=dg.AssetSelection.assets(*assets),
        description="Make roles, databases and rights of all locations what the files say, and compare again.",
    )
    production = dg.DefaultScheduleStatus.RUNNING if _in_production() else dg.DefaultScheduleStatus.STOPPED
    schedules = [
        # Changes nothing, so it is on; mending by itself is for who would rather not look first.
        dg.ScheduleDefinition(job=compared, cron_schedule="10 5 * * *", default_status=production),
        dg.ScheduleDefinition(job=mended, cron_schedule="5 5 * * *", default_status=dg.DefaultScheduleStatus.STOPPED),
    ]
    return dg.Definitions(assets=assets, asset_checks=checks, jobs=[compared, mended], schedules=schedules)


def _in_production() -> bool:
    from platform_kit import environment

    return environment.current("platform").is_production


def _asset_of(here: Deployment, name: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=[*KEY, name],
        description=(
            f"What {name} is in the database: its role, connection limit and settings, its lake's database, and who "
            "may do what there and in Dagster's tables, as workspace.yaml and access.yaml say."
        ),
        group_name="provisioning",
        owners=OWNERS,
        kinds={"postgres"},
    )
    def mended(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        """Mends what differs; fails when something is left that only the migration can do."""
        before = provisioning_of.drift(here.plan, name)
        for one in before:
            context.log.warning(str(one))
        if provisioning_of.missing(before):
            raise dg.Failure(f"{name} is not there as the plan says; {REMEDY}.", metadata={"drift": table(before)})
        provisioning_of.mend(here.plan, name)
        left = provisioning_of.drift(here.plan, name)
        if left:
            raise dg.Failure(
                f"{len(left)} of {len(before)} differences are left, such as {left[0]}; {REMEDY}.",
                metadata={"drift": table(left)},
            )
        return dg.MaterializeResult(metadata={"mended": len(before), "drift": table(before)})

    return mended


def _check_of(here: Deployment, name: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=[*KEY, name],
        name=CHECK,
        description="Role, databases and rights in the server are what workspace.yaml and access.yaml say.",
    )
    def compared() -> dg.AssetCheckResult:
        """Names each difference, with what was found and what was expected."""
        drift = provisioning_of.drift(here.plan, name)
        remedy = REMEDY if provisioning_of.missing(drift) else "materialise this asset to mend it"
        return dg.AssetCheckResult(
            passed=not drift,
            metadata={"drift": table(drift), "differences": len(drift)},
            description="; ".join([*map(str, drift[:5]), remedy]) if drift else None,
        )

    return compared


def table(drift: list[Drift]) -> dg.TableMetadataValue:
    """Differences as Dagster shows a table."""
    columns = ("place", "what", "found", "expected")
    return dg.MetadataValue.table(
        records=[dg.TableRecord({column: getattr(one, column) for column in columns}) for one in drift],
        schema=dg.TableSchema([dg.TableColumn(column, "string") for column in columns]),
    )
