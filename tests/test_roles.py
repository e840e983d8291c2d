"""Promise: a user may launch in one location and only look at the others."""

import json

import pytest

from tests.support.deployment import Deployment
from tests.support.graphql import GraphQL


def audit(deployment: Deployment) -> list[dict[str, object]]:
    """The audit log, oldest first."""
    lines = deployment.python("webserver", "print(open('/var/lib/dagster/audit/audit.jsonl').read())").splitlines()
    return [json.loads(line) for line in lines if line]


def test_a_viewer_looks_and_changes_nothing(deployment: Deployment) -> None:
    victor = deployment.user("victor")
    assert "probe" in victor.locations()
    assert victor.try_launch("probe", "succeed")["__typename"] == "UnauthorizedError"


@pytest.mark.needs("ingestion")
def test_an_editor_launches_at_home_and_nowhere_else(deployment: Deployment) -> None:
    edith = deployment.user("edith")
    run = edith.launch("probe", "succeed")
    assert edith.wait_for(run, "SUCCESS")
    refused = edith.try_launch("ingestion", assets=["ingestion/raw/airlines"])
    assert refused["__typename"] == "UnauthorizedError"


@pytest.mark.needs("ingestion")
def test_an_editor_by_group_launches_in_the_groups_location(deployment: Deployment) -> None:
    dana = deployment.user("dana")
    assert dana.try_launch("probe", "succeed")["__typename"] == "UnauthorizedError"
    run = dana.launch("ingestion", assets=["ingestion/raw/airlines"])
    assert dana.wait_for(run, "SUCCESS")


def test_an_editor_cannot_end_another_locations_run(deployment: Deployment, admin: GraphQL) -> None:
    run = admin.launch("probe", "hang")
    admin.wait_for(run, "STARTED")
    assert deployment.user("dana").terminate(run)["__typename"] == "UnauthorizedError"
    assert admin.run(run)["status"] == "STARTED"
    assert deployment.user("edith").terminate(run)["__typename"] == "TerminateRunSuccess"
    admin.wait_for(run, "CANCELED")


def test_a_run_says_who_launched_it_whatever_the_client_claims(deployment: Deployment) -> None:
    edith = deployment.user("edith")
    run = edith.launch("probe", "succeed")
    assert edith.tags(run)["user"] == "edith"
    forged = edith.try_launch("probe", "succeed", tags={"user": "admin"})
    if forged["__typename"] == "LaunchRunSuccess":
        assert edith.tags(forged["run"]["runId"])["user"] == "edith"


def test_launches_and_refusals_are_in_the_audit_log(deployment: Deployment) -> None:
    run = deployment.user("edith").launch("probe", "succeed")
    deployment.user("victor").try_launch("probe", "succeed")
    entries = audit(deployment)
    assert any(run in json.dumps(entry) and entry["user"] == "edith" for entry in entries)
    assert any(entry["user"] == "victor" and entry["decision"] == "denied" for entry in entries)
