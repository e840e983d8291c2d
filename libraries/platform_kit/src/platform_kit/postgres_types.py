"""Values between Postgres and polars, as CSV."""

import io
from typing import TYPE_CHECKING, Any

from platform_kit.database import DatabaseError

if TYPE_CHECKING:
    import polars

# No text that data has: CSV tells NULL from the same text by quotes, which polars does not look at.
_NULL = "\x01NULL"
CSV = f"FORMAT csv, NULL '{_NULL}'"

_INTEGERS = {21: "Int16", 23: "Int32", 20: "Int64", 26: "UInt32"}
_FLOATS = {700: "Float32", 701: "Float64"}
_STORED_AS = {
    **dict.fromkeys(("Int8", "UInt8", "Int16"), "smallint"),
    **dict.fromkeys(("UInt16", "Int32"), "integer"),
    **dict.fromkeys(("UInt32", "Int64"), "bigint"),
    **dict.fromkeys(("String", "Categorical", "Enum"), "text"),
    "UInt64": "numeric(20, 0)",
    "Float32": "real",
    "Float64": "double precision",
    "Boolean": "boolean",
    "Date": "date",
    "Time": "time",
}
_BOOLEAN, _DATE, _TIME, _TIMESTAMP, _TIMESTAMPTZ, _NUMERIC, _BYTES = 16, 1082, 1083, 1114, 1184, 1700, 17


def to_polars(column: Any) -> "polars.DataType | type[polars.DataType]":
    """The polars type of a column as psycopg2 describes it; what has no match is text."""
    import polars

    code = column.type_code
    if code in _INTEGERS or code in _FLOATS:
        return getattr(polars, {**_INTEGERS, **_FLOATS}[code])  # type: ignore[no-any-return]
    if code == _NUMERIC:
        # Without a declared scale Postgres keeps as many digits as there are; sums and averages come so.
        known = column.precision and column.precision <= 38 and column.scale is not None and column.scale >= 0
        return polars.Decimal(column.precision, column.scale) if known else polars.Float64()
    if code == _BYTES:
        raise DatabaseError(f"column {column.name} is bytea: select encode({column.name}, 'base64')")
    return {
        _BOOLEAN: polars.Boolean(),
        _DATE: polars.Date(),
        _TIME: polars.Time(),
        _TIMESTAMP: polars.Datetime("us"),
        _TIMESTAMPTZ: polars.Datetime("us", "UTC"),
    }.get(code, polars.String())


def of_polars(kind: "polars.DataType") -> str:
    """The Postgres type that keeps every value of a polars type."""
    import polars

    if isinstance(kind, polars.Decimal):
        return f"numeric({kind.precision}, {kind.scale})"
    if isinstance(kind, polars.Datetime):
        return "timestamptz" if kind.time_zone else "timestamp"
    name = _STORED_AS.get(type(kind).__name__)
    if name is None:
        raise DatabaseError(f"polars type {kind} has no column type in Postgres here: cast it, text for what is nested")
    return name


def read_csv(content: io.BytesIO, columns: "dict[str, Any]") -> "polars.DataFrame":
    """The frame of a COPY's output."""
    import polars

    if not content.getbuffer().nbytes:
        return polars.DataFrame(schema=columns)
    as_text = {name: kind for name, kind in columns.items() if not kind.is_numeric() or kind.is_decimal()}
    frame = polars.read_csv(
        content,
        has_header=False,
        schema={name: polars.String if name in as_text else kind for name, kind in columns.items()},
        null_values=_NULL,
        empty_string_is_null=False,
    )
    return frame.with_columns(_parse(name, kind) for name, kind in as_text.items())


def _parse(name: str, kind: Any) -> "polars.Expr":
    import polars

    text = polars.col(name)
    if kind == polars.Boolean:
        return text == "t"
    if kind == polars.Date:
        return text.str.to_date("%Y-%m-%d")
    if kind == polars.Time:
        return text.str.to_time("%H:%M:%S%.f")
    if isinstance(kind, polars.Datetime):
        moment = text.str.strip_suffix("+00").str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us")
        return moment.dt.replace_time_zone(kind.time_zone)
    return text.cast(kind)


def write_csv(frame: "polars.DataFrame") -> io.BytesIO:
    """The frame as a COPY's input."""
    content = io.BytesIO()
    frame.write_csv(content, include_header=False, null_value=_NULL)
    content.seek(0)
    return content
