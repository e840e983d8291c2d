"""Runs and containers: a run that is under way has one live container, a run that has ended has none."""

from operations.invariants import times
from operations.invariants.facts import LOCATION_TAG, Facts, Run, RunContainer, Violations, violation

LOOK_AT_DAEMON = "the daemon ends such runs: `docker logs` of the service daemon says why it did not"
LOOK_AT_BROKER = "`docker logs` of the service run_broker says what was asked for this run"


def check(facts: Facts) -> Violations:
    """Everything that a run and its container disagree on for longer than docs/runs.md allows."""
    for run in facts.runs.values():
        containers = facts.containers_of.get(run.id, [])
        yield from _one_container(run, containers)
        yield from _same_location(run, containers)
        if run.status in ("STARTED", "STARTING", "CANCELING"):
            yield from _has_container(facts.now, run, containers)
        if run.status in ("NOT_STARTED", "STARTING") and _over(facts.now, run.since, times.MUST_START):
            yield violation(
                "never-started", run.name, f"is {run.status} for {_ago(facts.now, run.since)}",
                f"a run starts within {times.MUST_START} s, or fails", LOOK_AT_DAEMON,
            )  # fmt: skip
        if run.status == "CANCELING" and _over(facts.now, run.since, times.IS_CANCELED):
            yield violation(
                "never-canceled", run.name, f"is CANCELING for {_ago(facts.now, run.since)}",
                f"a run is CANCELED within {times.IS_CANCELED} s, whatever its container does", LOOK_AT_DAEMON,
            )  # fmt: skip
    yield from _left_over(facts)


def _one_container(run: Run, containers: list[RunContainer]) -> Violations:
    if len(containers) > 1:
        names = ", ".join(container.name for container in containers)
        yield violation("two-containers", run.name, f"has {len(containers)} containers: {names}",
                        "one run has one container, started once", LOOK_AT_BROKER)  # fmt: skip


def _same_location(run: Run, containers: list[RunContainer]) -> Violations:
    location = run.tags.get(LOCATION_TAG, "")
    for container in containers:
        if location and container.location and container.location != location:
            yield violation(
                "foreign-container", run.name, f"of {location} is in {container.name}, a container of"
                f" {container.location}", "a run is a copy of its own location's container", LOOK_AT_BROKER,
            )  # fmt: skip


def _has_container(now: float, run: Run, containers: list[RunContainer]) -> Violations:
    if any(container.lives or container.state == "created" for container in containers):
        return
    if run.status == "STARTING" and not containers:
        # Its launch may wait for the broker, or for the queue: that it starts at all is another question.
        return
    since = max([run.since if not containers else 0, *(container.finished or 0 for container in containers)])
    allowed = times.DEAD_IS_FOUND if run.status == "STARTED" else times.DEAD_BEFORE_START_IS_FOUND
    allowed = times.IS_CANCELED if run.status == "CANCELING" else allowed
    if _over(now, since, allowed):
        what = "its container has ended" if containers else "it has no container"
        yield violation(
            "no-container", run.name, f"is {run.status}, but {what}, for {_ago(now, since)}",
            f"a run whose container is gone is failed within {allowed} s", LOOK_AT_DAEMON,
        )  # fmt: skip


def _left_over(facts: Facts) -> Violations:
    owners = {container.id: run_id for run_id, found in facts.containers_of.items() for container in found}
    for container in facts.containers:
        run = facts.runs.get(owners.get(container.id, ""))
        if container.state == "created":
            allowed = times.NEVER_STARTED_IS_REMOVED
            if not container.warm and _over(facts.now, container.created, allowed):
                yield violation(
                    "not-started", f"container {container.name}",
                    f"was made {_ago(facts.now, container.created)} ago and never started",
                    f"the broker removes it after {allowed} s", LOOK_AT_BROKER,
                )  # fmt: skip
            continue
        if not container.lives or (container.warm and run is None):
            continue
        if run is not None and not run.has_ended:
            continue
        since = run.since if run else container.started or container.created
        if _over(facts.now, since, times.LEFT_OVER_IS_STOPPED):
            state = f"ended as {run.status} {_ago(facts.now, since)} ago" if run else "is unknown to Dagster"
            yield violation(
                "left-over", f"container {container.name}", f"goes on, but its run {container.run_id} {state}",
                f"the sweep stops it within {times.LEFT_OVER_IS_STOPPED} s",
                f"`docker logs` of the service daemon says why it was not; at once: docker stop {container.name}",
            )  # fmt: skip


def _over(now: float, since: float, allowed: float) -> bool:
    return now - since > allowed + times.MARGIN


def _ago(now: float, since: float) -> str:
    return f"{(now - since) / 60:.0f} min"
