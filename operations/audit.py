"""Who launched, changed and deployed: three trails read as one.

Verbs of `./stack` that change something are written down here, in the deployment's state; what people do in the UI and
over GraphQL is in the webserver's audit log; what schedules and sensors launch is in Dagster's runs.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

# Files that were set aside come first; their names have the date.
READ_LOG = ("sh", "-c", "cat /var/lib/dagster/audit/*.jsonl")
# Where the automatic launches of a run are told apart, in the order of asking.
LAUNCHERS = {
    "dagster/parent_run_id": "retry",
    "dagster/backfill": "backfill",
    "dagster/schedule_name": "schedule",
    "dagster/sensor_name": "sensor",
}
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, order=True)
class Entry:
    """One thing that somebody did, or tried to. `time` is UTC in ISO 8601, so that text sorts by it."""

    time: str
    who: str
    where: str
    what: str
    about: str
    result: str

    def as_dict(self) -> dict[str, str]:
        """For programs."""
        return asdict(self)


def record(path: Path, entry: Entry) -> None:
    """Append a line about a verb of ./stack."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry.as_dict()) + "\n")


def now() -> str:
    """The time as entries have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def of_verbs(path: Path) -> Iterator[Entry]:
    """What ./stack did to this deployment."""
    if path.is_file():
        for line in _lines(path.read_text(encoding="utf-8", errors="replace")):
            if set(line) == set(Entry.__dataclass_fields__):
                yield Entry(**{key: str(value) for key, value in line.items()})


def of_webserver(text: str) -> Iterator[Entry]:
    """What people did through the webserver, from the lines of its audit log."""
    for line in _lines(text):
        if line.get("log") == "audit":
            about = [*line.get("locations", ()), *line.get("elsewhere", ()), *_ids(line.get("runs", ()))]
            about += _ids(line.get("backfills", ()))
            yield Entry(
                time=str(line["time"])[:19] + "+00:00",
                who=line.get("user") or "nobody",
                where=f"webserver, as {line.get('role')}",
                what=str(line.get("operation")),
                about=", ".join(map(str, about)),
                result="denied" if line.get("decision") == "denied" else str(line.get("result")),
            )


def of_runs(runs: Iterable[Mapping[str, Any]]) -> Iterator[Entry]:
    """What Dagster launched by itself; what people launch is in the webserver's log."""
    for run in runs:
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        by = next((f"{kind} {tags[key][:40]}" for key, kind in LAUNCHERS.items() if key in tags), None)
        if by:
            yield Entry(
                time=datetime.fromtimestamp(run["creationTime"], UTC).isoformat(timespec="seconds"),
                who=by,
                where="daemon",
                what="launchRun",
                about=f"{tags.get('dagster/code_location', '?')}, run {run['runId'][:8]}",
                result=run["status"].lower(),
            )


def since(text: str, present: datetime | None = None) -> str:
    """The time that `--since` means: 30m, 12h, 7d, or a date. Raises `ValueError`."""
    if text[:-1].isdigit() and text[-1:] in UNITS:
        begin = (present or datetime.now(UTC)) - timedelta(**{UNITS[text[-1]]: int(text[:-1])})
    else:
        begin = datetime.fromisoformat(text)
        begin = begin if begin.tzinfo else begin.replace(tzinfo=UTC)
    return begin.astimezone(UTC).isoformat(timespec="seconds")


def _lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue  # the end of a line that a full disk cut off
        if isinstance(value, dict):
            yield value


def _ids(values: Iterable[str]) -> list[str]:
    return [str(value)[:8] for value in values]
