"""Promise: a mission-critical model has a location of its own, and nothing predicts that did not pass its gate."""

from typing import Any

import pytest

from tests.support.deployment import Deployment, lake_rows
from tests.support.flights import YEAR, source_table
from tests.support.graphql import GraphQL

pytestmark = pytest.mark.needs("ingestion", "analytics", "eta", "reporting")

DAY = "2013-12-25"
FEATURES, PREDICTIONS = "eta/features/flights", "eta/predictions/arrival_delays"
LATEST = """query Latest($key: AssetKeyInput!, $partitions: [String!]) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { assetMaterializations(partitions: $partitions, limit: 1) {
    runId metadataEntries { label
      ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue } ... on TextMetadataEntry { text }
      ... on MarkdownMetadataEntry { mdStr }
} } } } }"""


def latest(admin: GraphQL, key: str, *partitions: str) -> dict[str, Any]:
    """The metadata of an asset's last materialisation."""
    answer = admin.ask(LATEST, key={"path": key.split("/")}, partitions=list(partitions) or None)
    (found,) = answer["assetNodeOrError"]["assetMaterializations"]
    values = ("intValue", "floatValue", "text", "mdStr")
    return {
        entry["label"]: next((entry[name] for name in values if name in entry), None)
        for entry in found["metadataEntries"]
    }


@pytest.fixture(scope="module")
def released(admin: GraphQL, marts: str) -> str:
    """A model that was trained on the year and passed its gate; the run that released it."""
    admin.backfill_to_the_end([FEATURES], YEAR, seconds=420)
    run = admin.launch("eta", job="train_and_release")
    admin.wait_for(run, "SUCCESS", seconds=300)
    return run


def test_a_model_that_beats_predicting_without_one_is_released(admin: GraphQL, released: str) -> None:
    checks = [event["evaluation"] for event in admin.events(released) if event.get("evaluation")]
    assert {check["checkName"]: check["success"] for check in checks} == {"release_gate": True}
    found = latest(admin, "eta/model/evaluation")
    assert found["mae/candidate"] < 0.95 * min(found["mae/departure_delay"], found["mae/route_mean"])
    for plot in ("error_by_hour", "importance"):
        assert "](data:image/png;base64,iVBORw0KGgo" in found[plot]
    assert latest(admin, "eta/model/accepted_model")["version"] == latest(admin, "eta/model/delay_model")["version"]


def test_a_model_of_the_year_is_trained_within_the_memory_of_its_label(
    deployment: Deployment, admin: GraphQL, released: str
) -> None:
    (container,) = deployment.run_containers(released)
    record = deployment.inspect(container)
    assert record["HostConfig"]["Memory"] == 2 << 30, "the other locations' runs have 1 GiB"
    assert not record["State"]["OOMKilled"]


def test_a_day_has_a_prediction_for_each_of_its_flights(deployment: Deployment, admin: GraphQL, released: str) -> None:
    run = admin.launch("eta", job="predict", tags={"dagster/partition": DAY})
    admin.wait_for(run, "SUCCESS", seconds=180)
    flights = len(source_table("flights").filter("month = 12 and day = 25"))
    assert latest(admin, FEATURES, DAY)["dagster/partition_row_count"] == flights
    found = latest(admin, PREDICTIONS, DAY)
    assert found["dagster/partition_row_count"] == flights
    assert found["model_version"] == latest(admin, "eta/model/accepted_model")["version"]
    # Whoever may read this lake has them too.
    count = f"select count(*) as rows from eta.predictions.arrival_delays where flight_date = date '{DAY}'"
    assert lake_rows(deployment, "reporting", count, ("eta",)) == [{"rows": flights}]
