"""All relations at once, and each violation looked at twice: what goes on must not look like what is wrong."""

import time
from collections.abc import Callable, Iterator

from operations.context import Context
from operations.errors import Finding, StackError
from operations.invariants import partitions, pools, reading, retries, run_containers, run_events, schedules
from operations.invariants.facts import Facts, Violation, Violations

RELATIONS: tuple[tuple[str, Callable[[Facts], Violations]], ...] = (
    ("Runs and containers", run_containers.check),
    ("Runs and events", run_events.check),
    ("Retries", retries.check),
    ("Schedules", schedules.check),
    ("Pools", pools.check),
    ("Events and lakes", partitions.check),
)
# Longer than a commit to a lake and the event that tells of it are apart.
PAUSE_SECONDS = 10.0


def violations(facts: Facts) -> list[Violation]:
    """What is wrong in one look. Pure."""
    return [each for _, check in RELATIONS for each in check(facts)]


def examine(context: Context, *, quiet: bool = False, pause: Callable[[float], None] = time.sleep) -> Iterator[Finding]:
    """What is wrong in two looks, one after the other. What cannot be asked is a finding, too."""
    try:
        context.deployment.require_env()
        if quiet:
            yield from _twice(context, pause)
            return
        with context.report.step("Runs, containers, events, schedules, pools, lakes") as step:
            found = list(_twice(context, pause, step.update))
            step.done(f"{len(found)} contradictions" if found else "all agree")
        yield from found
    except StackError as error:
        yield Finding("invariants", error.found, f"expected: {error.expected}", error.do)


def _twice(
    context: Context, pause: Callable[[float], None], tell: Callable[[str], None] = lambda _: None
) -> Iterator[Finding]:
    before = {each.key for each in violations(reading.look(context))}
    if not before:
        return
    tell(f"{len(before)} are looked at again")
    pause(PAUSE_SECONDS)
    yield from (each.finding for each in violations(reading.look(context)) if each.key in before)
