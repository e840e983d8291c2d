"""How a table's columns come to be and change.

The first write makes the table. Later a new column is added (older rows have NULL there) and a narrower type fits into
a wider one; a column that is missing or of another type is refused: rows would change their meaning in silence.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from platform_kit.lake.connection import literal, quoted
from platform_kit.lake.errors import LakeError
from platform_kit.lake.frames import columns_of

if TYPE_CHECKING:
    import polars
    from duckdb import DuckDBPyConnection

    from platform_kit.lake.tables import TableName

# A sealed column is text. The table itself remembers, as a comment, that it is one, and the type of what is sealed.
_MARK = "personal: "
_ANY = "no type"
_WIDER = {
    "TINYINT": {"SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE"},
    "SMALLINT": {"INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE"},
    "INTEGER": {"BIGINT", "HUGEINT", "DOUBLE"},
    "BIGINT": {"HUGEINT"},
    "UTINYINT": {"USMALLINT", "UINTEGER", "UBIGINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE"},
    "USMALLINT": {"UINTEGER", "UBIGINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE"},
    "UINTEGER": {"UBIGINT", "BIGINT", "HUGEINT", "DOUBLE"},
    "UBIGINT": {"HUGEINT"},
    "FLOAT": {"DOUBLE"},
}


def incoming_types(frame: "polars.DataFrame", described: dict[str, str]) -> dict[str, str]:
    """The types that the columns of a frame are stored as, from what DuckDB takes them for."""
    import polars

    return {
        # DuckDB takes a column that has nothing but NULL, and no type, for INTEGER.
        name: _ANY if frame.schema[name] == polars.Null else _stored_as(kind)
        for name, kind in described.items()
    }


def _stored_as(kind: str) -> str:
    return "VARCHAR" if kind.startswith("ENUM(") else kind  # DuckLake has no enumerations


def prepare(
    connection: "DuckDBPyConnection",
    table: str,
    schema: str,
    incoming: dict[str, str],
    partitioned_by: Sequence[str],
) -> None:
    """Make `table` fit `incoming`, inside the caller's transaction."""
    import duckdb

    try:
        present = columns_of(connection, table)
    except duckdb.CatalogException:
        _create(connection, table, schema, incoming, partitioned_by)
        return
    refuse_misfits(table, present, incoming)
    for name in incoming.keys() - present.keys():
        _refuse_untyped(table, {name: incoming[name]})
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {quoted(name)} {incoming[name]}")


def refuse_misfits(table: str, present: dict[str, str], incoming: dict[str, str]) -> None:
    """An error that lists every column that is missing from `incoming` or does not fit the table."""
    missing = [f"{name} is missing" for name in present if name not in incoming]
    other = [
        f"{name} is {incoming[name]}, the table has {kind}"
        for name, kind in present.items()
        if name in incoming and incoming[name] not in (kind, _ANY) and kind not in _WIDER.get(incoming[name], ())
    ]
    if missing or other:
        raise LakeError(
            f"the frame does not fit table {table}: {'; '.join(missing + other)}. Cast or add the columns (as NULL), "
            "or, when the table shall change, ALTER or DROP it first. Nothing was written."
        )


def _create(
    connection: "DuckDBPyConnection", table: str, schema: str, incoming: dict[str, str], partitioned_by: Sequence[str]
) -> None:
    _refuse_untyped(table, incoming)
    columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in incoming.items())
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    connection.execute(f"CREATE TABLE {table} ({columns})")
    if partitioned_by:
        connection.execute(f"ALTER TABLE {table} SET PARTITIONED BY ({', '.join(partitioned_by)})")


def _refuse_untyped(table: str, columns: dict[str, str]) -> None:
    untyped = [name for name, kind in columns.items() if kind == _ANY]
    if untyped:
        raise LakeError(
            f"columns of {table} have no type, because all their values are NULL: cast {', '.join(untyped)}"
        )


def personal_columns(connection: "DuckDBPyConnection", table: "TableName") -> dict[str, str]:
    """The sealed columns of a table, and the types of their values; none where the table does not exist."""
    rows = connection.execute(
        "SELECT column_name, comment FROM duckdb_columns() WHERE starts_with(comment, ?) "
        "AND database_name = ? AND schema_name = ? AND table_name = ?",
        [_MARK, table.catalog, table.schema, table.table],
    ).fetchall()
    return {name: str(comment).removeprefix(_MARK) for name, comment in rows}


def mark_personal(
    connection: "DuckDBPyConnection", table: "TableName", types: Mapping[str, str], other_rows_stay: bool
) -> None:
    """Remember that these columns are sealed from now on, inside the caller's transaction."""
    for name, kind in types.items():
        clear = f"SELECT count({quoted(name)}) FROM {table.sql}"  # noqa: S608
        if other_rows_stay and connection.execute(clear).fetchall()[0][0]:
            raise LakeError(
                f"column {name} of {table} became personal, but rows of other partitions hold it in clear: drop it "
                f"(ALTER TABLE {table} DROP COLUMN {name}) and materialise all partitions again. Nothing was written."
            )
        connection.execute(f"COMMENT ON COLUMN {table.sql}.{quoted(name)} IS {literal(_MARK + kind)}")
