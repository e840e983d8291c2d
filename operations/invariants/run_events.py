"""Runs and events: a run that has ended was told so, once, and nothing that it did is missing or there twice."""

from collections import Counter

from operations.invariants import times
from operations.invariants.facts import Facts, Run, Told, Violations, violation

# Dagster calls its runs pipelines in what it stores.
ENDS = {"PIPELINE_SUCCESS": "SUCCESS", "PIPELINE_FAILURE": "FAILURE", "PIPELINE_CANCELED": "CANCELED"}
OVER_TIME = ["PIPELINE_CANCELED", "PIPELINE_FAILURE"]
STEP_ENDS = ("STEP_SUCCESS", "STEP_FAILURE", "STEP_SKIPPED", "STEP_UP_FOR_RETRY")
KINDS = (*ENDS, *STEP_ENDS, "PIPELINE_STARTING", "PIPELINE_START", "STEP_START", "STEP_RESTARTED")
READ_ON = "the run's page shows all that it was told, `docker logs` of the service daemon what was done about it"


def check(facts: Facts) -> Violations:
    """What a run's record and its events contradict each other in."""
    for run in facts.runs.values():
        events = facts.events_of.get(run.id, [])
        yield from _told_its_end(facts.now, run, events)
        yield from _done_once(run, events)
        if run.status == "SUCCESS":
            yield from _complete(run, events)


def _told_its_end(now: float, run: Run, events: list[Told]) -> Violations:
    ends = sorted((told for told in events if told.kind in ENDS), key=lambda told: told.last)
    names = " and ".join(ENDS[told.kind] for told in ends)
    if run.has_ended and not ends:
        yield violation(
            "no-end", run.name, f"is {run.status}, but was never told so", "an event that says how it ended", READ_ON
        )
    elif run.has_ended and ENDS[ends[-1].kind] != run.status:
        yield violation("other-end", run.name, f"is {run.status}, but was told {names} last",
                        "its record to say what its last event says", READ_ON)  # fmt: skip
    elif not run.has_ended and ends and now - run.since > times.DEAD_IS_FOUND + times.MARGIN:
        yield violation("end-not-recorded", run.name, f"was told {names}, but is {run.status}",
                        "its record to say what its last event says", READ_ON)  # fmt: skip
    # A run over its longest time is canceled by its process and failed by Dagster's monitoring: in this order, one end.
    if len({told.kind for told in ends}) > 1 and [told.kind for told in ends] != OVER_TIME:
        yield violation("two-ends", run.name, f"was told {names}", "one end", READ_ON)


def _done_once(run: Run, events: list[Told]) -> Violations:
    starts = sum(told.times for told in events if told.kind == "PIPELINE_START")
    if starts > 1:
        yield violation("started-twice", run.name, f"began {starts} times",
                        "once: what is repeated is a new run, which names this one", READ_ON)  # fmt: skip
    begun = Counter[str]()
    for told in events:
        begun[told.step] += told.times if told.kind == "STEP_START" else 0
    for step, count in begun.items():
        if count > 1:
            yield violation("step-twice", run.name, f"began its step {step} {count} times",
                            "once, and STEP_RESTARTED for each retry of a step", READ_ON)  # fmt: skip


def _complete(run: Run, events: list[Told]) -> Violations:
    kinds = {told.kind for told in events}
    if "PIPELINE_START" not in kinds:
        yield violation(
            "no-start", run.name, "is SUCCESS, but never began", "an event that says when it began", READ_ON
        )
    begun = {told.step for told in events if told.kind == "STEP_START"}
    over = {told.step for told in events if told.kind in STEP_ENDS}
    if missing := sorted(begun - over):
        yield violation("step-without-end", run.name, f"is SUCCESS, but of {', '.join(missing)} no end was told",
                        "each step that began to have ended", READ_ON)  # fmt: skip
