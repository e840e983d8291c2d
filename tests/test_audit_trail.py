"""Promise: who launched, changed and deployed is read in one place."""

import json

from tests.support.deployment import Deployment
from tests.support.graphql import GraphQL

Entry = dict[str, str]


def trail(deployment: Deployment) -> list[Entry]:
    printed = deployment.stack("audit", "--since", "1d", "--json")
    entries: list[Entry] = json.loads(printed)
    return entries


def test_verbs_launches_and_refusals_are_one_list_by_time(deployment: Deployment, admin: GraphQL) -> None:
    run = deployment.user("edith").launch("probe", "succeed")
    deployment.user("victor").try_launch("probe", "succeed")
    entries = trail(deployment)
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)
    assert any(entry["what"] == "./stack user add dana" for entry in entries)
    assert any(entry["who"] == "edith" and run[:8] in entry["about"] for entry in entries)
    assert any(entry["who"] == "victor" and entry["result"] == "denied" for entry in entries)


def test_what_dagster_launched_by_itself_is_told_with_its_cause(
    deployment: Deployment, admin: GraphQL, year: list[str]
) -> None:
    (run, *_) = year
    assert next(entry["who"] for entry in trail(deployment) if f"run {run[:8]}" in entry["about"]).startswith(
        "backfill "
    )


def test_no_secret_and_no_run_configuration_is_in_the_trail(deployment: Deployment) -> None:
    printed = json.dumps(trail(deployment))
    assert deployment.secret("admin_password") not in printed
    assert "runConfig" not in printed
