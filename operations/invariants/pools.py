"""Pools: no more places taken than there are, and none kept by a run that has ended."""

from collections import Counter

from operations.invariants import times
from operations.invariants.facts import ENDED, Facts, Violations, violation

FREE = "free it in the UI, Deployment → Concurrency; `docker logs` of the service daemon says why it was kept"


def check(facts: Facts) -> Violations:
    """Places that nobody will give back, and pools that are overfull."""
    for slot in facts.slots:
        if slot.status is not None and slot.status not in ENDED:
            continue
        if facts.now - slot.since > times.SLOTS_ARE_FREE + times.MARGIN:
            what = "waits for a place" if slot.waits else "keeps a place"
            state = f"has ended as {slot.status}" if slot.status else "is unknown to Dagster"
            yield violation("kept-slot", f"pool {slot.pool}", f"run {slot.run_id} {what}, but {state}",
                            f"places are free {times.SLOTS_ARE_FREE} s after a run's end", FREE,
                            slot.run_id, slot.step)  # fmt: skip
    taken = Counter(slot.pool for slot in facts.slots if not slot.waits)
    for pool in facts.pools:
        if taken[pool.name] > pool.limit:
            yield violation("overfull", f"pool {pool.name}", f"{taken[pool.name]} steps hold a place",
                            f"at most {pool.limit}", "a limit that was lowered fills down by itself; else: "
                            + FREE)  # fmt: skip
