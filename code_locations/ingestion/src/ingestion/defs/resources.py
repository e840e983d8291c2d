"""What the assets use, by environment: the same code reads and writes on a laptop, on a branch and in production."""

import dagster as dg
from ingestion.days import HERE

from platform_kit.database import Database
from platform_kit.embedded import EmbeddedDatabase
from platform_kit.environment import setting
from platform_kit.http_api import HttpApiResource
from platform_kit.lake import LakeIOManager, LakeResource
from platform_kit.postgres import PostgresResource


@dg.definitions
def resources() -> dg.Definitions:
    """The lake stores what assets return; sources are read with the settings SOURCE_DATABASE_* and SOURCE_API_*."""
    return dg.Definitions(
        resources={
            "io_manager": LakeIOManager(code_location=HERE.code_location),
            "lake": LakeResource(code_location=HERE.code_location),
            "source_database": _source_database(),
            "source_api": HttpApiResource(prefix="SOURCE_API"),
            "reference_database": _reference_database(),
        }
    )


def _source_database() -> Database:
    # On a laptop that names no source of its own, the sample's tables, where ./stack dev puts them.
    if HERE.is_embedded and not setting("SOURCE_DATABASE_HOST", ""):
        return EmbeddedDatabase(path=str(HERE.lake_data_path().with_name("flight_operations.duckdb")))
    return PostgresResource(prefix="SOURCE_DATABASE")


def _reference_database() -> Database:
    if HERE.is_embedded:
        return EmbeddedDatabase(path=str(HERE.lake_data_path().with_name(f"{HERE.code_location}_tables.duckdb")))
    # Its tables are made by migrations/, before a version that needs them serves.
    return PostgresResource(prefix="POSTGRES", database=HERE.catalog_database, makes_tables=False)
