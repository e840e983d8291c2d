"""Promise: a machine that goes down without a word comes up again, and nothing of what was said to be done is lost.

Every container is killed at once, as by a power failure; then the engine starts the services as it does at boot, in no
order of ours, and the unit's ./stack up follows. Not covered: the kernel's buffers, which no container host can lose.
"""

import contextlib
import random
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from tests.support.deployment import Deployment, docker, lake_rows, running
from tests.support.flights import source_table
from tests.support.graphql import FINAL, GraphQL
from tests.support.waiting import wait_until

MONTH = [(date(2013, 3, 1) + timedelta(days=n)).isoformat() for n in range(31)]
STATES = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
    name location { name }
    schedules { name scheduleState { status } }
    sensors { name sensorState { status } }
} } } }"""
SCHEDULE = {
    "repositoryLocationName": "ingestion",
    "repositoryName": "__repository__",
    "scheduleName": "every_morning",
}
TURN = "mutation Turn($selector: ScheduleSelector!) {{ {verb}(scheduleSelector: $selector) {{ __typename }} }}"
START, RESET = TURN.format(verb="startSchedule"), TURN.format(verb="resetSchedule")
COUNTS = """select 'runs', count(*) from runs union all select 'events', count(*) from event_logs
            union all select 'materialisations', count(*) from asset_keys where last_materialization is not null"""


def states(admin: GraphQL) -> dict[tuple[str, str], str]:
    """What is on and what is off, in every location that loads."""
    found = {}
    for node in admin.ask(STATES)["repositoriesOrError"]["nodes"]:
        for kind in ("schedule", "sensor"):
            for each in node[f"{kind}s"]:
                found[node["location"]["name"], each["name"]] = each[f"{kind}State"]["status"]
    return found


def counts(deployment: Deployment) -> dict[str, int]:
    return {kind: int(number) for kind, number in deployment.sql(COUNTS)}


def power_failure(deployment: Deployment, services: list[str]) -> None:
    """Everything ends at once; at boot the engine starts what restarts, whatever comes first."""
    listed = ("ps", "--quiet", "--filter", f"label=com.docker.compose.project={deployment.name}")
    # A run may end by itself between the list and the kill, and another one may begin.
    while running := docker(*listed).split():
        docker("kill", "--signal", "KILL", *running, check=False)
    restarted = [name for name in services if restarts(deployment, name)]
    random.Random(7).shuffle(restarted)
    docker("start", *restarted)


def restarts(deployment: Deployment, container: str) -> bool:
    return bool(deployment.inspect(container)["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped")


@pytest.mark.needs("ingestion")
def test_all_is_killed_at_once_and_nothing_is_lost(deployment: Deployment, admin: GraphQL) -> None:
    before = states(admin)
    assert before["ingestion", SCHEDULE["scheduleName"]] == "STOPPED"
    assert admin.ask(START, selector=SCHEDULE)["startSchedule"]["__typename"] == "ScheduleStateResult"
    try:
        _kill_and_compare(deployment, admin)
    finally:
        # What has failed is what to tell, and not that nothing answers.
        with contextlib.suppress(httpx.HTTPError):
            admin.ask(RESET, selector=SCHEDULE)
    assert states(admin) == before


def _kill_and_compare(deployment: Deployment, admin: GraphQL) -> None:
    hanging = admin.launch("probe", "hang", tags={"dagster/max_retries": "0"})
    admin.wait_for(hanging, "STARTED")
    backfill = admin.backfill(["ingestion/raw/flights"], MONTH)
    loading = wait_until(lambda: _started(admin, backfill), seconds=60, what="the month's run to start")
    # Nobody takes from the queue any more: what is launched now is queued for certain when the power goes.
    docker("kill", "--signal", "KILL", deployment.container("daemon"))
    queued = [admin.launch("probe", "succeed") for _ in range(2)]
    assert [admin.run(run)["status"] for run in queued] == ["QUEUED", "QUEUED"]
    services = list(running(deployment))
    before, known = counts(deployment), states(admin)
    told = {run: admin.messages(run) for run in (hanging, *loading)}

    power_failure(deployment, services)
    # The unit's command; its exit code says that a location of the tests is broken on purpose.
    said = deployment.stack("up", check=False)
    assert "Start services: all healthy" in said, said

    # Said before is said after, word by word; nothing was counted that is gone.
    after = counts(deployment)
    assert all(after[kind] >= before[kind] for kind in before), (before, after)
    assert states(admin) == known
    for run, messages in told.items():
        assert admin.messages(run)[: len(messages)] == messages
    # Queued runs start as if nothing had been, killed ones end and say why.
    for run in queued:
        admin.wait_for(run, "SUCCESS", seconds=90)
    admin.wait_for(hanging, "FAILURE", seconds=90)
    assert "container" in "\n".join(admin.messages(hanging)[len(told[hanging]) :])
    _lake_is_the_source(deployment, admin, backfill)
    assert [name for name in services if deployment.inspect(name)["State"]["Status"] != "running"] == [
        deployment.container("migrate")
    ]


def _started(admin: GraphQL, backfill: str) -> list[str]:
    state = admin.backfill_state(backfill)
    return [run["runId"] for run in state.get("runs", []) if run["status"] == "STARTED"]


def _lake_is_the_source(deployment: Deployment, admin: GraphQL, backfill: str) -> None:
    """The month that was being loaded is there wholly and once, be it by the first run or by its retry."""

    def ended() -> dict[str, Any] | None:
        state = admin.backfill_state(backfill)
        over = state["status"] not in ("REQUESTED", "CANCELING", "FAILING")
        return state if over and all(run["status"] in FINAL for run in state["runs"]) else None

    state = wait_until(ended, seconds=120, what=f"the backfill {backfill}")
    assert state is not None
    # Killed after the last day was stored, the run has failed and the backfill is complete, before there is a retry.
    assert state["status"] == "COMPLETED_SUCCESS", state
    flights = source_table("flights").filter("month = 3")
    (expected,) = flights.aggregate("count(*), sum(distance)").fetchall()
    rows = lake_rows(
        deployment,
        "ingestion",
        "select count(*) as rows, sum(distance) as distance from ingestion.raw.flights where month(flight_date) = 3",
    )
    assert (rows[0]["rows"], int(rows[0]["distance"])) == (expected[0], int(expected[1]))
