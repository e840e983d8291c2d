"""What can be said of another location's table from outside: by its lake's catalog, and by Dagster's event log."""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance, IntMetadataValue
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from platform_kit.lake.connection import quoted
from platform_location import compaction, database

FILE = Path(__file__).with_name("external.yaml")
ROWS = "dagster/row_count"
# A run over a range tells the rows of the whole table with one of its partitions.
_LOOKED_AT = 1000


class Watched(BaseModel):
    """A line of external.yaml."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    asset: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$")]
    max_age_hours: Annotated[float, Field(gt=0)] | None = None

    @property
    def key(self) -> AssetKey:
        """The asset's key: location, schema, table."""
        return AssetKey(self.asset.split("/"))

    @property
    def seen(self) -> AssetKey:
        """The key of the table as it is seen from here.

        Checks are on this one: a backfill of the other location's asset asks that location for all of its asset's
        checks, and would fail with one that it does not have.
        """
        return AssetKey(["platform", "watched", "_".join(self.key.path)])


@dataclass(frozen=True)
class Told:
    """What Dagster's event log has of an asset."""

    rows: int | None
    age_hours: float | None


def read(text: str) -> list[Watched]:
    """The tables to look at. Raises `pydantic.ValidationError`, which names the line and what is legal."""
    return TypeAdapter(list[Watched]).validate_python(yaml.safe_load(text))


def told(instance: DagsterInstance, key: AssetKey) -> Told:
    """Rows and age of the last materialisation; None where there is none, or it does not say."""
    records = instance.fetch_materializations(AssetRecordsFilter(key), limit=_LOOKED_AT).records
    if not records:
        return Told(None, None)
    age = (time.time() - records[0].timestamp) / 3600
    for record in records:
        materialisation = record.asset_materialization
        value = materialisation.metadata.get(ROWS) if materialisation else None
        if isinstance(value, IntMetadataValue) and value.value is not None:
            return Told(value.value, age)
    return Told(None, age)


def rows_of(keys: Iterable[AssetKey]) -> dict[AssetKey, int | None]:
    """The rows of tables, each asked in its lake as the lake's owner; None where there is no such table."""
    import duckdb

    by_location = defaultdict(list)
    for key in keys:
        by_location[key.path[0]].append(key)
    found: dict[AssetKey, int | None] = {}
    for location, of_location in by_location.items():
        with database.lake(location) as catalog:
            empty = compaction.is_empty(catalog)
        if empty:
            found |= dict.fromkeys(of_location)
            continue
        with compaction.attached(location) as connection:
            for key in of_location:
                table = f"lake.{quoted(key.path[1])}.{quoted(key.path[2])}"
                try:
                    rows = connection.execute(f"SELECT count(*) FROM {table}").fetchall()  # noqa: S608  quoted
                    found[key] = int(rows[0][0])
                except duckdb.CatalogException:
                    found[key] = None
    return found
