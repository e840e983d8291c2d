"""Failed runs of all locations, but not those that Dagster will try again."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import dagster as dg
from dagster._core.events import JobFailureData
from dagster._core.execution.plan.objects import StepFailureData

from platform_kit.alerts.message import Alert, run_link
from platform_location.defs.alerts import events

WILL_RETRY = "dagster/will_retry"


def alerts(
    instance: dg.DagsterInstance, records: Sequence[dg.EventLogRecord], site: str, told: list[str]
) -> list[Alert]:
    """One alert for each job and location, however many of its runs failed in these events; `told` grows by the runs.

    Any location can write an event that another's run has failed; whether it has, only webserver, daemon and the run's
    own location say, in the run's status.
    """
    last = {record.run_id: record for record in records if record.run_id not in told}
    groups: dict[tuple[str, str], list[tuple[dg.DagsterRun, dg.EventLogRecord]]] = defaultdict(list)
    failure = [dg.DagsterRunStatus.FAILURE]
    for run in instance.get_runs(dg.RunsFilter(run_ids=list(last), statuses=failure)) if last else ():
        if run.tags.get(WILL_RETRY) != "true":
            groups[events.location_of(run), run.job_name].append((run, last[run.run_id]))
            told.append(run.run_id)
    found = []
    for (location, job), runs in groups.items():
        plain = Alert(f"{location}: run failed: {job}", link=run_link(site, runs[0][0].run_id))
        found.append(events.guarded(partial(_alert, instance, location, runs, site), plain))
    return found


def _alert(
    instance: dg.DagsterInstance, location: str, failed: list[tuple[dg.DagsterRun, dg.EventLogRecord]], site: str
) -> Alert:
    run, record = min(failed, key=lambda pair: pair[1].storage_id)
    assets = _assets(instance, [each for each, _ in failed])
    what = events.named(assets) if run.job_name.startswith("__") and assets else run.job_name
    step, error = _why(record)
    facts = (
        ("assets", events.named(assets)),
        ("step", step),
        ("error", error),
        ("runs", f"{len(failed)} failed; the first is {run.run_id}" if len(failed) > 1 else run.run_id),
        ("launched by", run.tags.get("user") or run.tags.get("dagster/schedule_name") or ""),
        ("partition", run.tags.get("dagster/partition") or ""),
    )
    to = events.receivers(instance, "failure", run, assets)
    return Alert(f"{location}: run failed: {what}", facts, run_link(site, run.run_id), to)


def _assets(instance: dg.DagsterInstance, runs: list[dg.DagsterRun]) -> list[dg.AssetKey]:
    """What the runs were to make. A run of a whole job names no assets: its first events do."""
    keys = {key for run in runs for key in run.asset_selection or ()}
    if not keys:
        planned = instance.all_logs(runs[0].run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        found = (entry.dagster_event.asset_key for entry in planned if entry.dagster_event)
        keys = {key for key in found if key}
    return sorted(keys)


def _why(record: dg.EventLogRecord) -> tuple[str, str]:
    """The step that failed first, and its error's root cause, as the run has told them: or something else entirely."""
    event = record.event_log_entry.dagster_event
    data = event.event_specific_data if event else None
    if not event or not isinstance(data, JobFailureData):
        return "", record.event_log_entry.user_message
    first = data.first_step_failure_event
    failure = first.event_specific_data if first else None
    error = failure.error if isinstance(failure, StepFailureData) else data.error
    while error and error.cause:
        error = error.cause
    return (first.step_key or "" if first else ""), (error.message if error else event.message or "")
