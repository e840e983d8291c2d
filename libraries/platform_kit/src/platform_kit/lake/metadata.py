"""What a materialisation says about the table it wrote."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import MetadataValue, TableColumn, TableSchema
from dagster_shared.record import replace

from platform_kit.environment import Environment
from platform_kit.lake.tables import TableName, Written
from platform_kit.personal.sealing import is_seal

if TYPE_CHECKING:
    import polars

PREVIEW_ROWS = 5
MASK = "(personal)"


def of_every_partition(table: TableName, written: Written) -> dict[str, Any]:
    """What each partition's event says; small, because a year's backfill makes hundreds of events."""
    entries: dict[str, Any] = {"dagster/table_name": str(table), "lake/storage": "ducklake"}
    if written.snapshot is not None:
        entries["lake/snapshot"] = written.snapshot
    return entries


def of_table(written: Written, preview: "polars.DataFrame | None", described: Mapping[str, Any]) -> dict[str, Any]:
    """What the last event of a run says about the table as a whole. `described` is the asset's own metadata."""
    entries = {
        "dagster/row_count": written.rows,
        "dagster/column_schema": table_schema(written.columns, described.get("dagster/column_schema")),
        "lake/bytes": written.bytes,
        "lake/rows_written": written.written_rows,
    }
    if preview is not None and preview.width:
        # Who looks at the UI has no right to what is personal.
        entries["lake/preview"] = MetadataValue.md(markdown(preview, written.personal))
    return entries


def link(environment: Environment, table: TableName) -> dict[str, Any]:
    """Where the table's files are, in this environment."""
    address = environment.lake_address(table.catalog)
    root = address.rstrip("/") if "://" in address else Path(address).as_uri()
    return {"dagster/uri": f"{root}/{table.schema}/{table.table}", "lake/environment": environment.name}


def table_schema(columns: Mapping[str, str], described: object) -> TableSchema:
    """The columns as they are stored, with the descriptions and constraints that the asset's definition gives them."""
    schema = getattr(described, "value", described)
    known = {column.name: column for column in schema.columns} if isinstance(schema, TableSchema) else {}
    return TableSchema(
        columns=[
            replace(known[name], type=kind) if name in known else TableColumn(name=name, type=kind)
            for name, kind in columns.items()
        ],
        constraints=schema.constraints if isinstance(schema, TableSchema) else None,
    )


def markdown(frame: "polars.DataFrame", personal: Collection[str] = ()) -> str:
    """The first rows as a Markdown table; long values are cut, those of personal columns not shown."""
    rows = [frame.columns, ["---"] * frame.width]
    rows += [
        [MASK if name in personal and value is not None else _cell(value) for name, value in row.items()]
        for row in frame.head(PREVIEW_ROWS).rows(named=True)
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cell(value: object) -> str:
    text = "" if value is None else MASK if is_seal(value) else str(value)
    text = text if len(text) <= 60 else text[:59] + "…"
    return text.replace("|", "\\|").replace("\n", " ")
