"""How long a run takes from being enqueued to each of its stages: plain, cold and warm in turn."""

from collections.abc import Callable, Mapping
from typing import Any

from operations.benchmark.numbers import FIRST_STEP, by_stage, moment, stages
from tests.performance import plain
from tests.performance.comparison import Both
from tests.performance.programs import say
from tests.performance.stack import COLD, KEPT_WARM, WARM, Stack
from tests.support.deployment import docker
from tests.support.graphql import GraphQL
from tests.support.waiting import wait_until

JOB = "quick"
RUN_SECONDS = 600
# As long as all warm containers may take to be there. Where they do not come, the stack has no warm runs.
WARM_SECONDS = 240
# A container that waits for a run does next to nothing; one that still imports has a processor.
IDLE_PERCENT = 3.0


def measure(both: Both) -> dict[str, Any]:
    """Medians need rounds; in turn, so that what else the machine does is in all three."""
    found: dict[str, list[Mapping[str, float]]] = {"plain": [], COLD: [], WARM: []}
    # The first of each pays for what is loaded once; a location keeps containers warm from its first run on.
    one_run(both.plain.client, plain.LOCATION)
    one_run(both.stack.client, COLD)
    one_run(both.stack.client, WARM)
    went_cold, has_warm = 0, wait_for_warm(both.stack)
    if not has_warm:
        say(f"  no warm runs: no {KEPT_WARM} containers of the location wait for one")
    for number in range(1, both.rounds + 1):
        found["plain"].append(one_run(both.plain.client, plain.LOCATION))
        found[COLD].append(one_run(both.stack.client, COLD))
        if has_warm and wait_for_warm(both.stack):
            run = one_run(both.stack.client, WARM)
            if "container started" in run:
                went_cold += 1
            else:
                found[WARM].append(run)
        last = [f"{side} {runs[-1][FIRST_STEP]:.2f} s" for side, runs in found.items() if runs]
        say(f"  {number}/{both.rounds}: first step after {', '.join(last)}")
    measured: dict[str, Any] = {side: by_stage(runs) or None for side, runs in found.items()}
    return {**measured, "rounds": both.rounds, "warm_that_went_cold": went_cold}


def one_run(client: GraphQL, location: str) -> dict[str, float]:
    """Launches the job and waits until its container is gone, so that the next one has the machine to itself."""
    run_id = client.launch(location, JOB)
    wait_until(_ended(client, run_id), seconds=RUN_SECONDS, what=f"the run {run_id} of {location}", every=0.5)
    containers = docker("ps", "--all", "--quiet", "--filter", f"label=dagster/run_id={run_id}").split()
    started = [moment(docker("inspect", "--format", "{{.State.StartedAt}}", one).strip()) for one in containers]
    measured = stages(client.events(run_id), min(started, default=None))
    for one in containers:
        # One that was removed meanwhile is gone as well.
        docker("wait", one, check=False)
    return measured


def _ended(client: GraphQL, run_id: str) -> Callable[[], bool]:
    def ended() -> bool:
        status = client.run(run_id)["status"]
        assert status not in ("FAILURE", "CANCELED"), "\n".join(client.messages(run_id)[-15:])
        return bool(status == "SUCCESS")

    return ended


def wait_for_warm(stack: Stack, seconds: float = WARM_SECONDS) -> bool:
    """Whether all that are kept wait for a run, and have done all that they can do before."""
    try:
        wait_until(lambda: _idle(stack.warm_containers()), seconds=seconds, what="warm containers", every=1)
    except AssertionError:
        return False
    return True


def _idle(containers: list[str]) -> bool:
    if len(containers) < KEPT_WARM:
        return False
    # The engine looks twice, a second apart.
    used = docker("stats", "--no-stream", "--format", "{{.CPUPerc}}", *containers, check=False).split()
    return len(used) == KEPT_WARM and all(float(each.removesuffix("%")) < IDLE_PERCENT for each in used)
