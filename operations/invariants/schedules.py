"""Schedules: one tick a moment, one run a request, and no tick that hangs."""

from collections import Counter
from datetime import UTC, datetime

from operations.invariants import times
from operations.invariants.facts import Facts, Violations, violation

SCHEDULE, MOMENT = "dagster/schedule_name", ".dagster/scheduled_execution_time"
RUN_KEY, REPOSITORY, PARTITION = "dagster/run_key", ".dagster/repository", "dagster/partition"
RETRY_OF = "dagster/parent_run_id"


def check(facts: Facts) -> Violations:
    """Moments that were ticked twice, requests that became two runs, ticks without an end."""
    yield from _one_tick(facts)
    yield from _one_run(facts)
    newest = {tick.selector: tick for tick in sorted(facts.ticks, key=lambda tick: tick.id)}
    # An older one was interrupted, and given up when more than one moment had passed: Dagster leaves it as it is.
    for tick in newest.values():
        if tick.status == "STARTED" and facts.now - tick.updated > times.TICK_ENDS + times.MARGIN:
            yield violation("tick-hangs", f"{tick.kind.lower()} {tick.instigator}",
                            f"its tick of {_shown(tick.at)} has not ended", f"an end within {times.TICK_ENDS} s",
                            "`docker logs` of the service daemon, and of its code location", tick.id)  # fmt: skip


def _one_tick(facts: Facts) -> Violations:
    # A sensor's tick is of the moment that it was looked at; only a schedule's is of a moment that was promised.
    schedules = [tick for tick in facts.ticks if tick.kind == "SCHEDULE"]
    counted = Counter((tick.selector, tick.instigator, tick.at) for tick in schedules)
    for (_, name, at), count in counted.items():
        if count > 1:
            yield violation("ticked-twice", f"schedule {name}", f"has {count} ticks of {_shown(at)}",
                            "one tick a moment", "look whether two daemons run on this database", at)  # fmt: skip


def _one_run(facts: Facts) -> Violations:
    asked: Counter[tuple[str, ...]] = Counter()
    for run in facts.runs.values():
        if SCHEDULE in run.tags and MOMENT in run.tags and RETRY_OF not in run.tags:
            names = (REPOSITORY, SCHEDULE, MOMENT, RUN_KEY, PARTITION)
            asked[(run.job, *(run.tags.get(name, "") for name in names))] += 1
    for (_, _, name, moment, *request), count in asked.items():
        # Without a key and a partition nothing tells requests of one tick from each other.
        if count > 1 and any(request):
            yield violation("ran-twice", f"schedule {name}", f"started {count} runs for {moment}",
                            "one run a request", "cancel what is not needed", moment, *request)  # fmt: skip


def _shown(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
