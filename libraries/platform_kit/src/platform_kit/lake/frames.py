"""What assets return and receive, to and from DuckDB, without pyarrow: everything speaks Arrow's C stream."""

from typing import TYPE_CHECKING, Any

from platform_kit.lake.errors import LakeError

if TYPE_CHECKING:
    import polars
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

INCOMING = "_incoming"


class _Stream:
    """An Arrow stream and nothing more: DuckDB would ask for pyarrow if it saw that this is a polars frame."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._source.__arrow_c_stream__(requested_schema)


def materialised(value: object, what: object) -> "polars.DataFrame":
    """`value` in memory as a polars frame, so that it may be read more than once."""
    import polars

    if isinstance(value, polars.DataFrame):
        return value
    if isinstance(value, polars.LazyFrame):
        return value.collect(engine="streaming")
    if hasattr(value, "__arrow_c_stream__"):  # a DuckDB relation, a pyarrow.Table
        return polars.DataFrame(value)
    raise LakeError(
        f"{what} returned {type(value).__name__}: the lake stores a polars DataFrame or LazyFrame, a DuckDB relation, "
        "or another table with an Arrow stream (pyarrow.Table)"
    )


def register(connection: "DuckDBPyConnection", frame: "polars.DataFrame") -> None:
    """Let SQL on `connection` read `frame` as INCOMING."""
    connection.register(INCOMING, _Stream(frame))


def to_polars(relation: "DuckDBPyRelation") -> "polars.DataFrame":
    """The relation's rows as a polars frame."""
    import polars

    return polars.DataFrame(relation)


def columns_of(connection: "DuckDBPyConnection", source: str) -> dict[str, str]:
    """Names and DuckDB types of a table's or query's columns, in order."""
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE FROM {source}").fetchall()}
