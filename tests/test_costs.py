"""Promise: every materialisation says what it cost, as the container's own counters have it, and the report adds up."""

from datetime import UTC, datetime
from typing import Any

import docker
import pytest

from tests.support.deployment import Deployment, lake_rows
from tests.support.flights import REFERENCE
from tests.support.graphql import GraphQL
from tests.support.waiting import wait_until

pytestmark = pytest.mark.needs("ingestion", "analytics", "platform")

FIVE = {"cost/cpu_seconds", "cost/peak_memory_bytes", "cost/wall_seconds", "cost/amount", "cost/currency"}
MADE = """
{ assetNodes { assetKey { path } isMaterializable
  assetMaterializations(limit: 400) { runId metadataEntries { label
    ... on FloatMetadataEntry { floatValue } ... on IntMetadataEntry { intRepr }
    ... on TextMetadataEntry { text } } } } }"""
AMOUNTS = """
select count(*), sum((entry->'entry_data'->>'value')::float) from event_logs,
lateral json_array_elements(event::json->'dagster_event'->'event_specific_data'->'materialization'->'metadata_entries')
  as entry
where dagster_event_type = 'ASSET_MATERIALIZATION' and entry->>'label' = 'cost/amount'
  and id <= {last} and timestamp >= '{day}'"""


def materialisations(admin: GraphQL) -> dict[str, list[dict[str, Any]]]:
    """Of each asset that can be made: its materialisations, metadata by label."""
    found = {}
    for node in admin.ask(MADE)["assetNodes"]:
        for made in node["assetMaterializations"]:
            made["cost"] = {entry["label"]: entry for entry in made.pop("metadataEntries")}
        if node["isMaterializable"]:
            found["/".join(node["assetKey"]["path"])] = node["assetMaterializations"]
    return found


def test_every_materialisation_of_the_samples_says_what_it_cost(admin: GraphQL, marts: str) -> None:
    found = {
        key: made for key, made in materialisations(admin).items() if key.split("/")[0] in ("ingestion", "analytics")
    }
    assert {key for key, made in found.items() if key.startswith("analytics/") and not made} == set()
    assert len(found["ingestion/raw/flights"]) >= 365
    for key, made in found.items():
        for each in made:
            assert each["cost"].keys() >= FIVE, (key, each)
            assert each["cost"]["cost/cpu_seconds"]["floatValue"] > 0
            assert each["cost"]["cost/currency"]["text"] == "USD"
            assert 50_000_000 < int(each["cost"]["cost/peak_memory_bytes"]["intRepr"]) < 2 * 1024**3
    models = [made[0]["cost"]["cost/cpu_seconds"]["floatValue"] for key, made in found.items() if "/marts/" in key]
    assert len(set(models)) == len(models)  # each its own share of the one step


def test_a_runs_figures_add_up_to_its_containers(deployment: Deployment, admin: GraphQL) -> None:
    run = admin.launch("ingestion", assets=REFERENCE)
    (name,) = wait_until(lambda: deployment.run_containers(run), seconds=60, what="the run's container")
    engine = docker.from_env()
    try:
        used, ended = 0.0, False
        while not ended:
            # The engine reads the control group, which is gone when the container has ended: its last word counts.
            ended = admin.run(run)["status"] in ("SUCCESS", "FAILURE")
            usage = engine.api.stats(name, stream=False, one_shot=True)["cpu_stats"]["cpu_usage"]
            used = max(used, usage.get("total_usage", 0) / 1e9)
    finally:
        engine.close()
    made = [each for found in materialisations(admin).values() for each in found if each["runId"] == run]
    assert len(made) == len(REFERENCE)
    told = sum(each["cost"]["cost/cpu_seconds"]["floatValue"] for each in made)
    # Checks and the process's end come after the last materialisation, and belong to none. What is told is never more.
    assert 0.5 * used < told < 1.02 * used + 0.1, (told, used)


@pytest.fixture
def collected(admin: GraphQL, marts: str) -> dict[str, Any]:
    """The report's own metadata, after today's costs were collected."""
    today = datetime.now(UTC).date().isoformat()
    admin.backfill_to_the_end(["platform/costs/materialisations"], [today], seconds=120)
    run = admin.launch("platform", assets=["platform/costs/report"])
    admin.wait_for(run, "SUCCESS")
    (made,) = [each for each in materialisations(admin)["platform/costs/report"] if each["runId"] == run]
    found: dict[str, Any] = made["cost"]
    return found


def test_the_reports_totals_are_the_event_logs(deployment: Deployment, collected: dict[str, Any]) -> None:
    query = "select count(*) as rows, sum(amount) as amount, max(event_id) as last, min(day) as day from {}"
    (table,) = lake_rows(deployment, "platform", query.format("platform.costs.materialisations"))
    ((rows, amount),) = deployment.sql(AMOUNTS.format(last=table["last"], day=table["day"]))
    assert table["rows"] == int(rows) > 700
    assert table["amount"] == pytest.approx(float(amount))
    assert collected["costs/amount"]["floatValue"] == pytest.approx(table["amount"])
    by_team = lake_rows(
        deployment, "platform", "select location, team, sum(amount) as amount from platform.costs.report group by all"
    )
    teams = {(row["location"], row["team"]) for row in by_team}
    assert {("ingestion", "data-engineers"), ("analytics", "analysts")} <= teams
    assert sum(row["amount"] for row in by_team) == pytest.approx(table["amount"])
