"""What the stack has set itself, and whether the numbers say that it is met."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from operations.benchmark.numbers import FIRST_STEP, Spread, times

Measures = Mapping[str, Mapping[str, Any]]
ROWS, PARTITIONS = 336_776, 365


@dataclass(frozen=True)
class Goal:
    """One goal; `met` is None where nothing was measured."""

    what: str
    wanted: str
    found: str
    met: bool | None
    # What keeps it from being met as far as we know, and the next idea.
    reason: str = ""

    @property
    def said(self) -> str:
        """The verdict."""
        return "not measured" if self.met is None else "met" if self.met else "not met"


def goals(measures: Measures) -> list[Goal]:
    """All goals, held against what was measured."""
    ladder, throughput = measures.get("ladder", {}), measures.get("throughput", {})
    first = {side: Spread.of((ladder.get(side) or {}).get(FIRST_STEP)) for side in ("plain", "cold", "warm")}
    rate = {side: Spread.of(throughput.get(side)) for side in ("plain", "cold", "warm")}
    best = max((one for one in (rate["cold"], rate["warm"]) if one), key=lambda one: one.middle, default=None)
    warm = first["warm"].middle if first["warm"] else None
    memory, backfill = measures.get("memory", {}), measures.get("backfill", {})
    used = sum(memory["stack"].values()) if memory.get("stack") else None
    year = backfill.get("year") if _complete(backfill) else None
    return [
        _at_least("first step of a cold run, sooner than plain's", 2.5, times(first["plain"], first["cold"])),
        _at_least("first step of a warm run, sooner than plain's", 8, times(first["plain"], first["warm"])),
        _at_most("first step of a warm run, after it was enqueued", 1.0, warm, "s", 2),
        _at_least("runs a minute at 12 in parallel, of plain's", 4, times(best, rate["plain"]), STARTS),
        _at_most("idle memory, two locations, no warm run", 650, used, "MB", 0, IDLE),
        _at_most(f"backfill of a year of flights, {PARTITIONED}", 60, year, "s", 1),
        _at_most("dbt marts on top", 30, backfill.get("marts"), "s", 1),
        _at_most("the slowest with that history, of one with a page of it", 1.5, _grown(measures), "×", 1, GROWN),
    ]


def _grown(measures: Measures) -> float | None:
    """Of the UI's pages and a run's own times, the one that a long history makes slowest."""
    found = measures.get("history", {})
    few, many = found.get("few") or {}, found.get("stack") or {}
    pairs = [(Spread.of(many[name]), Spread.of(few[name])) for name in few if name in many]
    return max((ratio for late, early in pairs if (ratio := times(late, early)) is not None), default=None)


STARTS = (
    "a cold run takes about two seconds of processor time, more than half of them for importing Dagster and its "
    "storage, and two processors have no more. Next: more containers kept warm, which have done that before, and "
    "an import that leaves out what runs never use"
)
IDLE = (
    "four processes have Dagster imported (webserver, daemon, two code servers) and take 80 to 140 MB each; Postgres "
    "has 100 with what it caches. Next: libraries that daemon and webserver import for one function"
)
GROWN = "the runs page counts all runs there are. Next: fewer of them, by the days that the retention job keeps"
PARTITIONED = f"{PARTITIONS} partitions, {ROWS:,} rows, with its checks"


def _complete(backfill: Mapping[str, Any]) -> bool:
    """A year that lacks rows or checks was fast for nothing."""
    checks_passed = backfill.get("checks", 0) >= PARTITIONS and not backfill.get("checks_failed")
    return backfill.get("rows") == ROWS and checks_passed


def _at_least(what: str, wanted: float, found: float | None, reason: str = "") -> Goal:
    shown = "" if found is None else f"{found:.1f} ×"
    return Goal(what, f"≥ {wanted:g} ×", shown, None if found is None else found >= wanted, reason)


def _at_most(what: str, wanted: float, found: float | None, unit: str, digits: int, reason: str = "") -> Goal:
    shown = "" if found is None else f"{found:.{digits}f} {unit}"
    return Goal(what, f"≤ {wanted:g} {unit}", shown, None if found is None else found <= wanted, reason)
