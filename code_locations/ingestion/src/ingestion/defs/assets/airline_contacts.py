"""People at the airlines, from the HTTP API into the lake, where their columns are sealed, and nowhere else."""

import dagster as dg
from ingestion.defs.assets.reference_tables import frame_of
from ingestion.tables import AIRLINE_CONTACTS, OWNERS

from platform_kit.frame import Frame
from platform_kit.http_api import HttpApiResource


@dg.asset(
    key=AIRLINE_CONTACTS.asset_key,
    description=AIRLINE_CONTACTS.description,
    deps=[AIRLINE_CONTACTS.source_key],
    group_name="reference",
    owners=OWNERS,
    kinds={"api", "ducklake"},
    metadata={
        "dagster/column_schema": AIRLINE_CONTACTS.schema,
        "dagster/column_lineage": AIRLINE_CONTACTS.lineage,
    },
)
def airline_contacts(source_api: dg.ResourceParam[HttpApiResource]) -> Frame:
    """All contacts of the API. The tags of the schema are what seals them (docs/personal-data.md)."""
    return frame_of(AIRLINE_CONTACTS, source_api.items(f"/{AIRLINE_CONTACTS.name}"))
