"""Promise: one asset graph with lineage from the sources to the reports, across locations, drawn in the docs."""

from typing import Any

import pytest

from operations import lineage
from operations.checking.assets import Asset
from operations.deployment import Deployment as Named
from operations.gateway import as_admin
from tests.support.deployment import ROOT, Deployment
from tests.support.graphql import GraphQL

NODES = """{ assetNodes {
    assetKey { path } repository { location { name } } groupName description kinds
    owners { ... on TeamAssetOwner { team } ... on UserAssetOwner { email } }
    dependencyKeys { path } isMaterializable
} }"""
Nodes = dict[str, dict[str, Any]]


@pytest.fixture
def nodes(admin: GraphQL) -> Nodes:
    return {"/".join(node["assetKey"]["path"]): node for node in admin.ask(NODES)["assetNodes"]}


def upstream(nodes: Nodes, key: str) -> dict[str, str]:
    """Everything an asset is made of, over all steps, and the location of each."""
    found: dict[str, str] = {}
    waiting = [key]
    while waiting:
        for dep in nodes.get(waiting.pop(), {}).get("dependencyKeys", []):
            name = "/".join(dep["path"])
            if name not in found:
                found[name] = nodes[name]["repository"]["location"]["name"] if name in nodes else ""
                waiting.append(name)
    return found


@pytest.mark.needs("ingestion", "analytics")
def test_marts_are_reached_from_raw_tables_of_another_location(nodes: Nodes) -> None:
    marts = [key for key in nodes if key.startswith("analytics/marts/")]
    assert len(marts) >= 4
    for mart in marts:
        assert upstream(nodes, mart)["ingestion/raw/flights"] == "ingestion", mart


@pytest.mark.needs("ingestion", "analytics", "eta", "reporting")
def test_a_report_is_reached_from_the_source_through_every_location(nodes: Nodes) -> None:
    walked = [upstream(nodes, key) for key in nodes if key.startswith("reporting/reports/")]
    steps = [
        "flight_operations/public/flights",
        "ingestion/raw/flights",
        "analytics/staging/stg_flights",
        "eta/features/flights",
        "eta/model/delay_model",
    ]
    (whole, *_) = [found for found in walked if set(steps) <= set(found)] or [{}]
    assert set(steps) <= set(whole)
    assert set(whole.values()) >= {"ingestion", "analytics", "eta"}
    assert any(key.startswith("analytics/marts/") for key in whole)


def test_every_asset_says_whose_it_is_and_what(nodes: Nodes) -> None:
    for name, node in nodes.items():
        if node["isMaterializable"]:
            assert len(node["assetKey"]["path"]) == 3, name
            assert node["groupName"], name
            assert node["description"], name
            assert node["kinds"], name
            assert any(owner.get("team") for owner in node["owners"]), name


def test_the_diagram_in_the_docs_is_the_live_graph(deployment: Deployment) -> None:
    def shipped(asset: Asset) -> bool:
        return asset.location != "probe"

    live = [asset for asset in as_admin(Named(ROOT, deployment.name)).assets() if shipped(asset)]
    assert lineage.check(ROOT, live) is None


def test_no_diagram_is_written_without_a_location_that_does_not_load(deployment: Deployment) -> None:
    assert "not loaded: broken" in deployment.stack("lineage", check=False)
