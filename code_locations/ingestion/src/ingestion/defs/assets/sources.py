"""The sources, so that lineage begins where the data comes from."""

import dagster as dg
from ingestion.tables import BY_DAY, FROM_API, OWNERS


@dg.definitions
def sources() -> dg.Definitions:
    """One external asset a table of the source database and a path of the API."""
    return dg.Definitions(
        assets=[
            dg.AssetSpec(
                table.source_key,
                description=f"{table.description}: as the source has it, read and never written by this deployment",
                group_name="sources",
                owners=OWNERS,
                kinds={"postgres" if table in BY_DAY else "api"},
                metadata={"dagster/column_schema": table.source_schema},
            )
            for table in (*BY_DAY, *FROM_API)
        ]
    )
