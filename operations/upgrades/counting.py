"""Rows before and after: run history, which schedules and sensors are on, every table of every lake."""

import json
from typing import Any

from operations.backups.asking import Answer, silent
from operations.context import Context
from operations.errors import StackError
from operations.upgrades import cluster

_SHOWN = 5
Counts = dict[str, Any]


def count(context: Context, image: str, since: Counts | None = None) -> Counts:
    """What there is; or, of a later state, how much is left of what there was. Raises `StackError`."""
    done = cluster.count(context, image, json.dumps(since) if since else "")
    answer = Answer(silent)
    for line in done.stdout.splitlines():
        answer.line(line)
    if answer.error or not done.ok or not answer.found:
        told = answer.error["found"] if answer.error else "\n".join(answer.other) or done.last_words
        raise StackError(f"rows cannot be counted: {told}", "an answer of the database", "look at the log of postgres")
    counts: Counts = answer.result
    return counts


def require_readable(counts: Counts) -> None:
    """A lake that cannot be counted before cannot be compared afterwards."""
    problems = [f"{lake['database']}: {lake['problem']}" for lake in counts["lakes"] if lake["problem"]]
    if problems:
        raise StackError(
            "lakes whose catalog cannot be read: " + "; ".join(problems),
            "every catalog to be readable before anything is changed",
            "repair or drop the lake (docs/operations/restore.md brings an earlier state back)",
        )


def differences(before: Counts, after: Counts) -> list[str]:
    """What was there and is not, or is not the same."""
    wrong = [
        f"{key}: {after['history'].get(key)}, {before['history'].get(key)} before"
        for key in ("runs", "instigators")
        if before["history"].get(key) != after["history"].get(key)
    ]
    found = {lake["database"]: lake for lake in after["lakes"]}
    for lake in before["lakes"]:
        now = found.get(lake["database"], {"tables": {}, "problem": "it is not there"})
        if now["problem"]:
            wrong.append(f"{lake['database']}: {now['problem']}")
            continue
        for table in sorted({*lake["tables"], *now["tables"]}):
            then, rows = lake["tables"].get(table), now["tables"].get(table)
            if then != rows:
                wrong.append(f"{lake['database']} {table}: {rows} rows, {then} before")
    return wrong


def require_equal(before: Counts, after: Counts) -> None:
    """Raises `StackError` where something is gone."""
    if wrong := differences(before, after):
        raise StackError(
            "after the upgrade not everything is as it was: " + "; ".join(wrong[:_SHOWN]),
            "the same rows, runs and schedules",
            "report what is named here: this is a fault of the upgrade",
        )


def told(counts: Counts) -> str:
    """In a few words."""
    tables = [rows for lake in counts["lakes"] for rows in lake["tables"].values()]
    return f"{counts['history'].get('runs', 0):,} runs, {len(tables)} tables of lakes with {sum(tables):,} rows"
