"""How many short runs go through in a minute when more wait than may run at once."""

import uuid
from typing import Any

from operations.benchmark.numbers import a_minute
from tests.performance import plain
from tests.performance.comparison import Both
from tests.performance.ladder import JOB, one_run, wait_for_warm
from tests.performance.programs import say
from tests.performance.stack import COLD, WARM
from tests.support.graphql import FINAL, GraphQL
from tests.support.waiting import wait_until

# Both sides let 12 of them go on at once.
RUNS = 24
SECONDS = 1800
# A round takes minutes: fewer than of the ladder.
ROUNDS_FOR_ONE = 5

TAGGED = """
query Tagged($tags: [ExecutionTag!]) {
  runsOrError(filter: {tags: $tags}) { ... on Runs { results { status creationTime endTime } } }
}"""


def measure(both: Both) -> dict[str, Any]:
    """Plain, cold and warm in turn."""
    sides = {"plain": (both.plain.client, plain.LOCATION), COLD: (both.stack.client, COLD)}
    # From its first run on a location keeps containers warm.
    one_run(both.stack.client, WARM)
    if wait_for_warm(both.stack):
        sides[WARM] = (both.stack.client, WARM)
    found: dict[str, Any] = {side: [] for side in sides}
    rounds = max(1, both.rounds // ROUNDS_FOR_ONE)
    for number in range(1, rounds + 1):
        for side, (client, location) in sides.items():
            if side == WARM:
                wait_for_warm(both.stack)
            found[side].append(many(client, location))
            say(f"  {number}/{rounds}: {side} {found[side][-1]:.1f} runs a minute")
    return found


def many(client: GraphQL, location: str) -> float:
    """Launches all and waits for the last; runs a minute."""
    tag = {"bench": uuid.uuid4().hex}
    for _ in range(RUNS):
        client.launch(location, JOB, tags=tag)
    runs = wait_until(lambda: _all_ended(client, tag), seconds=SECONDS, what=f"{RUNS} runs of {location}", every=2)
    failed = [run["status"] for run in runs if run["status"] != "SUCCESS"]
    assert not failed, f"{len(failed)} of {RUNS} runs of {location} ended as {sorted(set(failed))}"
    return a_minute([run["creationTime"] for run in runs], [run["endTime"] for run in runs])


def _all_ended(client: GraphQL, tag: dict[str, str]) -> list[dict[str, Any]]:
    wanted = [{"key": key, "value": value} for key, value in tag.items()]
    runs: list[dict[str, Any]] = client.ask(TAGGED, tags=wanted)["runsOrError"]["results"]
    return runs if len(runs) == RUNS and all(run["status"] in FINAL for run in runs) else []
