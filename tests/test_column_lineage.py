"""Promise: lineage of columns through dbt and Python assets, across all locations."""

from typing import Any

import pytest

from tests.support.graphql import GraphQL

TABLES = """{ assetNodes { assetKey { path } isMaterializable isAutoCreatedStub
  metadataEntries { ...table } assetMaterializations(limit: 1) { metadataEntries { ...table } } } }
fragment table on MetadataEntry {
  __typename
  ... on TableColumnLineageMetadataEntry { lineage { columnName columnDeps { assetKey { path } columnName } } }
  ... on TableSchemaMetadataEntry { schema { columns { name } } }
}"""
Column = tuple[str, str]


class Columns:
    """Columns of all assets, and where each comes from: by the definition, or by the last materialisation."""

    def __init__(self, nodes: list[dict[str, Any]]) -> None:
        self.known: dict[str, set[str]] = {}
        self.sources: dict[Column, set[Column]] = {}
        for node in nodes:
            name = "/".join(node["assetKey"]["path"])
            events = node["assetMaterializations"]
            for entry in [*node["metadataEntries"], *(events[0]["metadataEntries"] if events else [])]:
                self._read(name, entry)

    def _read(self, name: str, entry: dict[str, Any]) -> None:
        for column in (entry.get("schema") or {}).get("columns", []):
            self.known.setdefault(name, set()).add(column["name"])
        for line in entry.get("lineage") or []:
            found = {("/".join(dep["assetKey"]["path"]), dep["columnName"]) for dep in line["columnDeps"]}
            self.sources.setdefault((name, line["columnName"]), set()).update(found)

    def origins(self, column: Column, seen: frozenset[Column] = frozenset()) -> set[Column]:
        """Everything a column comes from, over all steps."""
        found: set[Column] = set()
        for source in self.sources.get(column, set()) - seen:
            found |= {source} | self.origins(source, seen | {column})
        return found


@pytest.fixture
def columns(admin: GraphQL, marts: str) -> Columns:
    return Columns([node for node in admin.ask(TABLES)["assetNodes"] if not node["isAutoCreatedStub"]])


def test_every_step_leads_to_a_column_that_exists(columns: Columns) -> None:
    assert len(columns.sources) > 50
    gone = [
        (column, source)
        for column, sources in columns.sources.items()
        for source in sources
        if source[1] not in columns.known.get(source[0], {source[1]})
    ]
    assert gone == []


@pytest.mark.parametrize(
    ("column", "origin"),
    [
        (("ingestion/raw/flights", "flight_date"), ("flight_operations/public/flights", "day")),
        (("analytics/staging/stg_flights", "carrier_code"), ("ingestion/raw/flights", "carrier")),
        (("analytics/marts/delays_by_carrier", "carrier_name"), ("flight_api/airlines", "name")),
        (("analytics/marts/delays_by_day", "flight_date"), ("flight_operations/public/flights", "month")),
    ],
)
def test_a_column_is_followed_to_its_source_over_locations(columns: Columns, column: Column, origin: Column) -> None:
    assert origin in columns.origins(column)
