"""The jobs that change which tables are assets: read the catalogue anew, or go back to an older version of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin

from platform_kit.database import Database

if TYPE_CHECKING:
    from ingestion.components.source_tables import SourceTables


class RollBack(dg.Config):
    """Which version to go back to."""

    version: str = ""
    """One that the run of a refresh named; nothing stands for the one before the one in force."""


def refreshing(component: "SourceTables", state: str) -> dg.Definitions:
    """The jobs and the schedule. `state` says what is known of the source now; people read it with the job."""
    schema, key = component.lake_schema, component.defs_state_config.key

    @dg.op(name=f"read_{schema}_catalogue", required_resource_keys={component.database})
    def refresh(context: dg.OpExecutionContext) -> None:
        database: Database = getattr(context.resources, component.database)
        found = component.refresh_from(database)
        for name, why in found.skipped.items():
            context.log.warning(f"Table {name!r} is left out: {why}.")
        context.log.info(
            f"Version {found.version}. New: {_list(found.new)}; gone: {_list(found.gone)}; "
            f"with other columns or comments: {_list(found.changed)}."
        )
        if found.is_other or found.skipped:
            _load_anew(context)

    @dg.op(name=f"choose_{schema}_catalogue")
    def roll_back(context: dg.OpExecutionContext, config: RollBack) -> None:
        known, now = component.storage.versions(key), component.storage.get_latest_version(key)
        before = [version for version in known if now and version < now]
        version = config.version or (before[-1] if before else "")
        component.storage.set_latest_version(key, version)
        context.log.info(f"Version {version} is in force instead of {now}. Kept are {_list(known)}.")
        _load_anew(context)

    @dg.job(
        name=f"refresh_{schema}_tables",
        description=f"{state} Launch this job to read the source's catalogue: tables that are new there become assets.",
    )
    def refresh_job() -> None:
        refresh()

    @dg.job(
        name=f"roll_back_{schema}_tables",
        description="Go back to an older catalogue, by default the one before. The next refresh goes forward again: "
        f"turn refresh_{schema}_tables_schedule off until the source is mended.",
    )
    def roll_back_job() -> None:
        roll_back()

    schedule = dg.ScheduleDefinition(job=refresh_job, cron_schedule=component.refresh, execution_timezone="UTC")
    return dg.Definitions(jobs=[refresh_job, roll_back_job], schedules=[schedule])


def told(skipped: Mapping[str, str]) -> str:
    """The tables that are left out, each with the reason."""
    return "; ".join(f"{name!r}: {why}" for name, why in skipped.items())


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _load_anew(context: dg.OpExecutionContext) -> None:
    """Have the location loaded again.

    `dagster api grpc` cannot load twice. It ends when it is told to, and Compose (or Kubernetes) starts it again; the
    webserver notices by itself. Servers of ./stack dev are on sockets: they are replaced when a file of theirs changes.
    """
    job = context.run.remote_job_origin
    server = job.repository_origin.code_location_origin if job else None
    if isinstance(server, GrpcServerCodeLocationOrigin) and server.port:
        context.log.info(f"The code server {server.host} starts anew, which takes some ten seconds.")
        server.shutdown_server()
    elif isinstance(server, GrpcServerCodeLocationOrigin):
        context.log.info("The code server is replaced when this run has ended.")
        Path(__file__).touch()
    else:
        context.log.info("Reload the code location to see the change.")
