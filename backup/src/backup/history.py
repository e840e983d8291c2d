"""What Dagster remembers, in numbers that a restore can be compared by."""

from pathlib import Path
from typing import Any

from backup import postgres
from backup.catalogs import Lake

_THERE = "SELECT to_regclass('public.runs') IS NOT NULL AND to_regclass('public.instigators') IS NOT NULL"
_NEWEST = "SELECT coalesce(max(id), 0) FROM public.runs"
_RUNS = "SELECT count(*) FROM public.runs WHERE id <= %s"
# The body holds cursors, which move with each tick; which are on and which are off is what people rely on.
_INSTIGATORS = """
SELECT selector_id, status FROM public.instigators ORDER BY 1"""


def read(sockets: Path, since: dict[str, Any] | None = None) -> dict[str, Any]:
    """Counts now, or, of a later state, of what was there then."""
    with postgres.session(sockets, "dagster", frozen=True) as dagster:
        if not dagster.ask(_THERE)[0][0]:
            return {}
        run = since["newest_run"] if since else dagster.ask(_NEWEST)[0][0]
        return {
            "newest_run": run,
            "runs": dagster.ask(_RUNS, (run,))[0][0],
            "instigators": {str(key): str(status) for key, status in dagster.ask(_INSTIGATORS)},
        }


def of_lakes(told: dict[str, Any], lakes: list[Lake]) -> dict[str, list[str]]:
    """By lake, where its tables are not what the manifest says."""
    wrong: dict[str, list[str]] = {}
    now = {lake.database: lake for lake in lakes}
    for then in told["lakes"]:
        name, lake = then["database"], now.get(then["database"])
        if lake is None:
            wrong[name] = [f"{name} is not there"]
            continue
        if lake.problem and not then.get("problem"):
            wrong[name] = [f"{name} cannot be read: {lake.problem}"]
            continue
        for table in sorted({*then["tables"], *lake.tables}):
            before, after = then["tables"].get(table), lake.tables.get(table)
            if before != after:
                wrong.setdefault(name, []).append(f"{name} {table}: {after} rows, {before} when it was backed up")
    return wrong


def of_dagster(told: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Where runs and schedules are not what the manifest says."""
    return [
        f"{key}: {found.get(key)}, {told['history'].get(key)} when it was backed up"
        for key in ("runs", "instigators")
        if told["history"].get(key) != found.get(key)
    ]
