"""How a branch's memory is shared out: its services get what a mirror needs, its runs what is left."""

import re
from dataclasses import dataclass, field
from typing import Any

from operations.branches.settings import ABSENT
from operations.errors import StackError

MIB = 1024**2
# Measured idle: webserver 140 MiB, daemon 150, postgres 190, a location 100 to 290, gateway 52, broker 47.
SERVICES = {"postgres": 512, "webserver": 512, "daemon": 384, "gateway": 128, "run_broker": 128}
LOCATION = 512
# A run imports Dagster and DuckDB in 200 to 300.
LEAST_FOR_RUNS = 512
UNITS = {"": 1, "b": 1, "k": 1024, "m": MIB, "g": 1024 * MIB}


@dataclass(frozen=True)
class Shares:
    """Limits in MiB: of services, of one run of each location; and how many runs may go at once."""

    services: dict[str, int] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    concurrent: int = 1


def share(config: dict[str, Any], budget: int) -> Shares:
    """Share out `budget` MiB; raises `StackError` when runs would get too little to start."""
    limits: dict[str, int] = {}
    standing = 0
    for name, spec in config["services"].items():
        if name in ABSENT:
            continue
        own = _mib(spec.get("mem_limit"))
        wanted = LOCATION if "code-location" in (spec.get("labels") or {}) else SERVICES.get(name)
        if wanted is not None:
            limits[name] = min(wanted, own) if own else wanted
        # A one-shot service has ended before runs begin.
        if spec.get("restart") not in (None, "no"):
            standing += limits.get(name, own or LOCATION)
    left = budget - standing
    if left < LEAST_FOR_RUNS:
        raise StackError(
            f"BRANCH_MEMORY_MB is {budget}, of which the services of a branch take {standing}",
            f"at least {standing + LEAST_FOR_RUNS}, so that a run finds {LEAST_FOR_RUNS}",
            "set BRANCH_MEMORY_MB in .env to that, or more",
        )
    runs = {
        name: min(_mib((spec.get("labels") or {}).get("run.memory")) or 1024, left)
        for name, spec in config["services"].items()
        if "code-location" in (spec.get("labels") or {})
    }
    return Shares(limits, runs, max(1, left // max(runs.values(), default=left)))


def _mib(size: object) -> int:
    """A size as Compose or a label writes it, in MiB; 0 for none."""
    match = re.fullmatch(r"([0-9]{1,18})([bkmg]?)b?", str(size or "").strip().lower())
    return int(match[1]) * UNITS[match[2]] // MIB if match else 0
