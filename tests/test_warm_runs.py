"""Promise: runs start warm. A container that waited becomes a run's, and nothing else about the run is different."""

import contextlib
import json
from typing import Any

import pytest

from tests.support import faults
from tests.support.deployment import Deployment, docker
from tests.support.graphql import GraphQL
from tests.support.waiting import wait_until

NO_RETRY = {"dagster/max_retries": "0"}


def waiting(deployment: Deployment) -> str:
    """The id of the container that waits for a run of the location "probe"; empty when none does."""
    found = docker("ps", "--quiet", "--no-trunc", "--filter", f"name=^{deployment.name}-probe-warm-").split()
    return found[0] if found else ""


def decisions(deployment: Deployment, run: str) -> list[str]:
    """Why the broker made what it made for a run."""
    lines = [json.loads(line) for line in deployment.logs("run_broker").splitlines() if run in line]
    return [line["reason"] for line in lines if line.get("route") == "create"]


@pytest.fixture
def warm(deployment: Deployment, admin: GraphQL) -> str:
    """One that waits. It may still import; a run that gets it then waits for that, and no longer than a cold one."""
    if not waiting(deployment):
        admin.wait_for(admin.launch("probe", "succeed"), "SUCCESS")
    wait_until(lambda: waiting(deployment), seconds=60, what="a container to wait for a run")
    return waiting(deployment)


def launch(deployment: Deployment, admin: GraphQL, warm: str, job: str, **how: Any) -> str:
    """A run that gets the container that waits."""
    run = admin.launch("probe", job, **how)
    wait_until(lambda: deployment.run_containers(run), seconds=60, what="the run's container")
    (name,) = deployment.run_containers(run)
    assert deployment.inspect(name)["Id"] == warm
    assert decisions(deployment, run)[-1] == "warm"
    return run


def test_a_run_gets_the_container_that_waits_and_another_takes_its_place(
    deployment: Deployment, admin: GraphQL, warm: str
) -> None:
    run = launch(deployment, admin, warm, "succeed")
    admin.wait_for(run, "SUCCESS")
    assert deployment.inspect(warm)["Name"] == f"/{deployment.name}-probe-run-{run}"
    wait_until(lambda: waiting(deployment), seconds=60, what="another to wait")
    assert waiting(deployment) != warm


def test_it_has_the_sandbox_of_any_run(deployment: Deployment, admin: GraphQL, warm: str) -> None:
    cold = admin.launch("probe", "succeed", tags={"run.memory": "600m"})
    admin.wait_for(cold, "SUCCESS")
    assert decisions(deployment, cold) == ["ok"]
    (name,) = deployment.run_containers(cold)
    theirs, own = deployment.inspect(name), deployment.inspect(warm)
    different = {key for key in theirs["HostConfig"] if theirs["HostConfig"][key] != own["HostConfig"].get(key)}
    assert different == {"Memory", "MemorySwap"}
    assert own["HostConfig"]["Memory"] == 512 * 1024**2
    assert theirs["Config"]["User"] == own["Config"]["User"]
    assert theirs["NetworkSettings"]["Networks"].keys() == own["NetworkSettings"]["Networks"].keys()
    places = [{(each["Destination"], each["RW"]) for each in found["Mounts"]} for found in (theirs, own)]
    assert places[0] == places[1]


def test_what_waits_holds_no_connection_to_the_database(deployment: Deployment, warm: str) -> None:
    def connections() -> list[list[str]]:
        (network,) = deployment.inspect(warm)["NetworkSettings"]["Networks"].values()
        return deployment.sql(f"select query from pg_stat_activity where client_addr = '{network['IPAddress']}'")

    wait_until(lambda: not connections(), seconds=60, what="it to have looked around")
    assert docker("inspect", "--format", "{{.State.Running}}", warm).strip() == "true"


def test_it_is_terminated_as_any_run(deployment: Deployment, admin: GraphQL, warm: str) -> None:
    run = launch(deployment, admin, warm, "hang")
    admin.wait_for(run, "STARTED")
    assert admin.terminate(run)["__typename"] == "TerminateRunSuccess"
    admin.wait_for(run, "CANCELED", seconds=90)
    wait_until(lambda: not deployment.inspect(warm)["State"]["Running"], seconds=60, what="its container to end")


def test_its_end_without_enough_memory_is_explained(deployment: Deployment, admin: GraphQL, warm: str) -> None:
    run = launch(deployment, admin, warm, "exhaust_memory", tags=NO_RETRY)
    admin.wait_for(run, "FAILURE", seconds=240)
    text = "\n".join(admin.messages(run))
    assert "out of memory" in text, text
    assert "512 MiB" in text, text


def test_its_crash_is_explained_with_its_last_words(deployment: Deployment, admin: GraphQL, warm: str) -> None:
    run = launch(deployment, admin, warm, "crash", tags=NO_RETRY)
    admin.wait_for(run, "FAILURE", seconds=240)
    text = "\n".join(admin.messages(run))
    assert "exit code 42" in text, text
    assert "the last words before the crash" in text, text


def test_killed_it_is_found_and_said(deployment: Deployment, admin: GraphQL, warm: str) -> None:
    run = launch(deployment, admin, warm, "hang", tags=NO_RETRY)
    admin.wait_for(run, "STARTED")
    docker("kill", "--signal", "KILL", warm)
    admin.wait_for(run, "FAILURE", seconds=120)
    assert "exit code 137" in "\n".join(admin.messages(run))


def test_another_broker_gives_away_what_waited_for_the_first(deployment: Deployment, admin: GraphQL, warm: str) -> None:
    docker("kill", "--signal", "KILL", deployment.container("run_broker"))
    docker("start", deployment.container("run_broker"))
    wait_until(
        lambda: '"event": "started"' in deployment.logs("run_broker").rpartition('"policy"')[2],
        seconds=60, what="the broker to serve again",
    )  # fmt: skip
    run = admin.launch("probe", "succeed")
    admin.wait_for(run, "SUCCESS")
    (name,) = deployment.run_containers(run)
    # The broker may not have looked yet when the run came; then it starts cold, and what waited waits on.
    assert deployment.inspect(name)["Id"] == warm or waiting(deployment) == warm


def test_one_that_dies_while_it_waits_fails_no_run(deployment: Deployment, admin: GraphQL, warm: str) -> None:
    docker("kill", "--signal", "KILL", warm)
    admin.wait_for(admin.launch("probe", "succeed"), "SUCCESS")
    wait_until(lambda: waiting(deployment), seconds=90, what="another to wait")


def test_one_that_dies_between_its_claim_and_its_start_fails_its_run_truly_and_a_retry_does_the_work(
    deployment: Deployment, admin: GraphQL, warm: str
) -> None:
    with contextlib.ExitStack() as held:
        with faults.hung(deployment, deployment.container("daemon")):
            run = admin.launch("probe", "succeed")
            # Of a launch this is the one writing between the two: the run's record gets the container's id.
            held.enter_context(faults.locked(deployment, "run_tags"))
        claimed = f"{deployment.name}-probe-claimed-{run}"
        wait_until(lambda: deployment.inspect(warm)["Name"] == f"/{claimed}", seconds=60, what="the claim")
        docker("kill", "--signal", "KILL", warm)
    admin.wait_for(run, "FAILURE", seconds=120)
    assert "a run's container is started once" in "\n".join(admin.messages(run))
    retry = wait_until(
        lambda: admin.tags(run).get("dagster/auto_retry_run_id", ""), seconds=180, what="the run to be retried"
    )
    admin.wait_for(retry, "SUCCESS", seconds=180)


def test_a_location_cannot_reach_anothers_from_its_run(deployment: Deployment, admin: GraphQL, warm: str) -> None:
    # A name that a run of this location could guess gives it nothing: the engine is not there to be asked.
    code = "import os, pathlib; print(os.path.exists('/var/run/docker.sock'), os.path.exists('/run/broker'))"
    run = launch(deployment, admin, warm, "attack", config={"ops": {"run_python": {"config": {"code": code}}}})
    admin.wait_for(run, "SUCCESS")
    assert "False False" in admin.printed(run)
