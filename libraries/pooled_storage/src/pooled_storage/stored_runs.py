"""What a stored run may hold: what Postgres reads as JSON.

The guard of the table of runs (daemon/src/migrate/guard.py) reads who a run belongs to from its stored text. Python
writes more than JSON has, NaN for one. A run with that in its configuration would be stored, and start, and could then
tell neither what it does nor that it has ended.
"""

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

from dagster import DagsterError, DagsterRun
from dagster._serdes import serialize_value


class UnstorableRunError(DagsterError):
    """A run that could not report its state."""


def checked(add_run: Callable[[DagsterRun], DagsterRun]) -> Callable[[DagsterRun], DagsterRun]:
    """`add_run`, for runs that Postgres can read alone; raises `UnstorableRunError` for others.

    Each launch passes here: by the webserver, a schedule, a sensor, a backfill, a retry.
    """

    def add(run: DagsterRun) -> DagsterRun:
        for place, found in _unreadable(json.loads(serialize_value(run)), ()):
            raise UnstorableRunError(
                f"The run of {run.job_name} was not made: {'.'.join(place)} is {found}, which the database cannot read "
                "as JSON. Expected a finite number, or text of whole characters other than the one of number 0: leave "
                "the value out, or write it as text that the code turns into what it means."
            )
        return add_run(run)

    return add


def _unreadable(value: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is no JSON to Postgres, with its place in the run."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _unreadable(key, (*place, ascii(key)))
            yield from _unreadable(each, (*place, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _unreadable(each, (*place, str(number)))
    elif isinstance(value, float) and not math.isfinite(value):
        yield place, str(value)
    elif isinstance(value, str) and any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value):
        yield place, f"{value!a:.60}"
