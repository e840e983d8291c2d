"""Retries: a crash that is to be retried is, once, and the new run names the old one."""

from operations.invariants import times
from operations.invariants.facts import Facts, Run, Violations, violation

WILL_RETRY, RETRIED_BY = "dagster/will_retry", "dagster/auto_retry_run_id"
PARENT, NUMBER = "dagster/parent_run_id", "dagster/retry_number"
BACKFILL = "dagster/backfill"
LAUNCH = "launch it again (Re-execute from failure), and read `docker logs` of the service daemon"


def check(facts: Facts) -> Violations:
    """Failed runs whose retry is missing, and runs that were retried more than once."""
    children: dict[str, list[Run]] = {}
    for run in facts.runs.values():
        # A retry by hand has no number: people may repeat what they like.
        if PARENT in run.tags and NUMBER in run.tags:
            children.setdefault(run.tags[PARENT], []).append(run)
    for parent, retries in children.items():
        if len(retries) > 1:
            names = ", ".join(sorted(run.id for run in retries))
            yield violation("retried-twice", f"run {parent}", f"was retried by {len(retries)} runs: {names}",
                            "one crash to have one retry", "cancel what is not needed")  # fmt: skip
    for run in facts.runs.values():
        if _is_owed(run) and run.id not in children and facts.now - run.since > times.IS_RETRIED + times.MARGIN:
            yield violation("not-retried", run.name, "failed, was to be retried, and was not",
                            f"a retry within {times.IS_RETRIED} s", LAUNCH)  # fmt: skip


def _is_owed(run: Run) -> bool:
    # Of a backfill that has ended meanwhile Dagster retries nothing, and says so in the run's log.
    return (
        run.status == "FAILURE"
        and run.tags.get(WILL_RETRY) == "true"
        and RETRIED_BY not in run.tags
        and BACKFILL not in run.tags
    )
