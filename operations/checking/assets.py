"""The assets of a deployment as their definitions describe them, read inside each location's image."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Column:
    """A column of an asset's table."""

    name: str
    type: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asset:
    """One asset; `lineage` says of a column which columns (the asset's key, then the column's name) it comes from."""

    location: str
    key: tuple[str, ...]
    deps: tuple[tuple[str, ...], ...] = ()
    external: bool = False
    group: str = ""
    owners: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    description: str = ""
    partitioned: bool = False
    columns: tuple[Column, ...] = ()
    lineage: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    file: str | None = None
    line: int | None = None

    @property
    def name(self) -> str:
        """The key as people write it."""
        return "/".join(self.key)


def read(location: str, folder: str, printed: str) -> list[Asset]:
    """The assets that `inside/graph.py` printed for a location whose source is in `folder`. Raises `ValueError`."""
    document = json.loads(printed)
    assets = [_asset(location, folder, entry) for entry in document["assets"]]
    own = {asset.key for asset in assets}
    strange = ["/".join(path) for path in document["checks"] if tuple(path[:-1]) not in own]
    if strange:
        # Dagster would ask the asset's own location for the check, and a backfill of the asset fails there.
        raise ValueError(
            f"has checks on assets of other locations: {', '.join(strange)}; "
            "define an external asset of its own that depends on the other, and check that"
        )
    return assets


def _asset(location: str, folder: str, entry: Mapping[str, Any]) -> Asset:
    return Asset(
        location=location,
        key=tuple(entry["key"]),
        deps=tuple(tuple(dep) for dep in entry["deps"]),
        external=entry["external"],
        group=entry["group"] or "",
        owners=tuple(entry["owners"]),
        kinds=tuple(entry["kinds"]),
        # dagster-dbt appends the model's source.
        description=entry["description"].split("#### Raw SQL")[0].strip(),
        partitioned=entry["partitioned"],
        columns=tuple(Column(each["name"], each["type"], each["tags"]) for each in entry["columns"]),
        lineage={column: tuple(tuple(dep) for dep in deps) for column, deps in entry["lineage"].items()},
        file=f"{folder}/{entry['file']}" if entry["file"] else None,
        line=entry["line"],
    )
