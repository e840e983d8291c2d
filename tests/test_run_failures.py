"""Promise: a run that goes wrong ends, leaves nothing running and says why."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

from tests.support.deployment import Deployment, docker
from tests.support.graphql import LAUNCH, GraphQL
from tests.support.waiting import wait_until


def is_gone(deployment: Deployment, run: str) -> bool:
    """Whether no container of the run is running."""
    return not any(deployment.inspect(name)["State"]["Running"] for name in deployment.run_containers(run))


def test_a_hanging_run_is_terminated_and_its_container_gone(deployment: Deployment, admin: GraphQL) -> None:
    run = admin.launch("probe", "hang")
    admin.wait_for(run, "STARTED")
    wait_until(lambda: not is_gone(deployment, run), seconds=20, what="the run's container")
    assert admin.terminate(run)["__typename"] == "TerminateRunSuccess"
    admin.wait_for(run, "CANCELED", seconds=90)
    wait_until(lambda: is_gone(deployment, run), seconds=60, what="the run's container to end")


def test_a_run_that_could_not_report_its_state_is_refused_at_its_launch(admin: GraphQL) -> None:
    selector = {"repositoryLocationName": "probe", "repositoryName": "__repository__", "jobName": "attack"}
    config = {"ops": {"run_python": {"config": {"code": "pass\0"}}}}
    refused = admin.answer(LAUNCH, params={"selector": selector, "runConfigData": config}).json()["data"]["launchRun"]
    assert refused["__typename"] == "PythonError", refused
    assert "The run of attack was not made: run_config.ops.run_python.config.code is 'pass\\x00'" in refused["message"]


def test_memory_and_crash_are_explained(deployment: Deployment, admin: GraphQL) -> None:
    memory, crash = (
        admin.launch("probe", job, tags={"dagster/max_retries": "0"}) for job in ("exhaust_memory", "crash")
    )
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda run: admin.wait_for(run, "FAILURE", seconds=240), [memory, crash]))
    text = "\n".join(admin.messages(memory))
    assert "512" in text, text
    assert "run.memory" in text, text
    text = "\n".join(admin.messages(crash))
    assert "42" in text, text
    assert "the last words before the crash" in text, text


def test_a_run_asks_for_more_memory_within_the_cap_of_its_location(deployment: Deployment, admin: GraphQL) -> None:
    run = admin.launch("probe", "succeed", tags={"run.memory": "700m"})
    admin.wait_for(run, "SUCCESS")
    (container,) = deployment.run_containers(run)
    assert deployment.inspect(container)["HostConfig"]["Memory"] == 700 * 1024**2
    greedy = admin.launch("probe", "succeed", tags={"run.memory": "64g"})
    admin.wait_for(greedy, "FAILURE")
    assert "run.memory.max" in "\n".join(admin.messages(greedy))
    assert deployment.run_containers(greedy) == []


def test_a_broker_that_restarts_delays_runs_and_fails_none(deployment: Deployment, admin: GraphQL) -> None:
    docker("kill", "--signal", "KILL", deployment.container("run_broker"))
    run = admin.launch("probe", "succeed")
    wait_until(lambda: admin.run(run)["status"] in ("STARTING", "QUEUED"), seconds=30, what="the run to wait")
    docker("start", deployment.container("run_broker"))
    admin.wait_for(run, "SUCCESS", seconds=120)


def test_a_container_whose_run_is_finished_is_stopped(deployment: Deployment, admin: GraphQL) -> None:
    run = admin.launch("probe", "hang")
    admin.wait_for(run, "STARTED")
    # As when the broker was away at the run's end: Dagster has given the run up, its container goes on.
    deployment.sql(f"update runs set status = 'CANCELED' where run_id = '{run}'")
    assert not is_gone(deployment, run)
    wait_until(lambda: is_gone(deployment, run), seconds=150, what="the sweep to stop the container")


def test_the_compute_log_of_a_run_is_shown(deployment: Deployment, admin: GraphQL) -> None:
    run = admin.launch("probe", "succeed")
    admin.wait_for(run, "SUCCESS")
    query = """query Logs($key: [String!]!) { capturedLogs(logKey: $key) { stdout } }"""
    files = """query Files($id: ID!) { runOrError(runId: $id) { ... on Run {
        eventConnection { events { ... on LogsCapturedEvent { fileKey stepKeys } } } } } }"""
    events = admin.ask(files, id=run)["runOrError"]["eventConnection"]["events"]
    (key,) = [event["fileKey"] for event in events if event.get("fileKey")]
    assert "hello from" in admin.ask(query, key=[run, "compute_logs", key])["capturedLogs"]["stdout"]
    escaped = admin.answer(query, key=["..", "..", "..", "etc", "passwd"])
    assert "root:" not in escaped.text


def test_what_happened_is_in_the_brokers_log(deployment: Deployment, admin: GraphQL) -> None:
    run = admin.launch("probe", "succeed")
    admin.wait_for(run, "SUCCESS")
    done = subprocess.run(
        ["docker", "logs", deployment.container("run_broker")], capture_output=True, text=True, timeout=60
    )
    assert any(run in line and '"probe"' in line for line in done.stdout.splitlines())
