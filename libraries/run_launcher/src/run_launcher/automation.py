"""Whether anything starts by itself here.

A branch deployment is a mirror of production to look at and to try things on. Were its schedules to tick, every pull
request would run production's night again, and send its mails. What a schedule's or sensor's `default_status` says is
code under review: so not the code decides, but which daemons there are.
"""

import os
from collections.abc import Sequence

# Of Dagster's daemons those that launch by themselves: schedules; sensors; automation conditions. People's launches,
# backfills and the retry of a run that crashed stay.
LAUNCHING = frozenset({"SCHEDULER", "SENSOR", "ASSET"})
_BRANCH = "branch-"


def is_off(deployment: str | None = None) -> bool:
    """True in a branch, by the setting DEPLOYMENT (docs/environments.md)."""
    return (os.environ.get("DEPLOYMENT", "") if deployment is None else deployment).startswith(_BRANCH)


def without_launching(daemons: Sequence[str]) -> list[str]:
    """The daemons that launch nothing by themselves."""
    return [daemon for daemon in daemons if daemon not in LAUNCHING]
