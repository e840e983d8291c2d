"""Asset checks that failed."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

import dagster as dg

from platform_kit.alerts.message import Alert, run_link
from platform_location.defs.alerts import events


def alerts(instance: dg.DagsterInstance, records: Sequence[dg.EventLogRecord], site: str) -> list[Alert]:
    """One alert for each check of a run, however many partitions it looked at."""
    failed: dict[tuple[str, dg.AssetKey, str], list[dg.AssetCheckEvaluation]] = defaultdict(list)
    for record in records:
        event = record.event_log_entry.dagster_event
        evaluation = event.asset_check_evaluation_data if event else None
        if evaluation and not evaluation.passed:
            failed[record.run_id, evaluation.asset_key, evaluation.check_name].append(evaluation)
    wanted = [run for run, _, _ in failed if run]
    runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=wanted))} if wanted else {}
    alerts = []
    for (run, key, check), found in failed.items():
        plain = Alert(f"{key.path[0]}: check failed: {check}", link=run_link(site, run))
        alerts.append(events.guarded(partial(_alert, instance, runs.get(run), run, found, site), plain))
    return alerts


def _alert(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun | None,
    run_id: str,
    found: list[dg.AssetCheckEvaluation],
    site: str,
) -> Alert:
    first = found[0]
    key = first.asset_key
    partitions = [evaluation.partition for evaluation in found if evaluation.partition]
    facts = (
        ("check", f"{first.check_name}, {first.severity.value}"),
        ("result", first.description or _shown(first)),
        ("partitions", f"{', '.join(partitions[:3])}{f' and {len(partitions) - 3} more' if partitions[3:] else ''}"),
        ("run", run_id),
    )
    own = events.addresses(events.said_in(first.metadata), "check_failed")
    to = (*events.receivers(instance, "check_failed", run, [key]), *own)
    title = f"{events.location_of(run, key)}: check failed: {first.check_name} of {key.to_user_string()}"
    return Alert(title, facts, run_link(site, run_id), tuple(dict.fromkeys(to)))


def _shown(evaluation: dg.AssetCheckEvaluation) -> str:
    """The first figures of its metadata."""
    simple = (dg.TextMetadataValue, dg.IntMetadataValue, dg.FloatMetadataValue, dg.BoolMetadataValue)
    entries = [(name, value) for name, value in evaluation.metadata.items() if isinstance(value, simple)]
    return ", ".join(f"{name} = {value.value}" for name, value in entries[:4])
