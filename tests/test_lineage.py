"""Promise: one asset graph from the raw tables to the marts, across locations."""

from tests.support.graphql import GraphQL

NODES = """{ assetNodes {
    assetKey { path } repository { location { name } } groupName description kinds
    owners { ... on TeamAssetOwner { team } ... on UserAssetOwner { email } }
    dependencyKeys { path } isMaterializable
} }"""


def test_marts_are_reached_from_raw_tables_of_another_location(admin: GraphQL) -> None:
    nodes = {
        "/".join(node["assetKey"]["path"]): node for node in admin.ask(NODES)["assetNodes"] if node["isMaterializable"]
    }
    assert nodes["ingestion/raw/flights"]["repository"]["location"]["name"] == "ingestion"
    marts = [key for key in nodes if key.startswith("analytics/marts/")]
    assert len(marts) >= 4

    def sources(key: str) -> set[str]:
        found: set[str] = set()
        for path in nodes[key]["dependencyKeys"]:
            upstream = "/".join(path["path"])
            found |= {upstream} | (sources(upstream) if upstream in nodes else set())
        return found

    for mart in marts:
        assert "ingestion/raw/flights" in sources(mart), mart
        assert nodes[mart]["repository"]["location"]["name"] == "analytics"


def test_every_asset_says_whose_it_is_and_what(admin: GraphQL) -> None:
    for node in admin.ask(NODES)["assetNodes"]:
        if not node["isMaterializable"]:
            continue
        name = "/".join(node["assetKey"]["path"])
        assert len(node["assetKey"]["path"]) == 3, name
        assert node["groupName"], name
        assert node["description"], name
        assert node["kinds"], name
        assert any(owner.get("team") for owner in node["owners"]), name
