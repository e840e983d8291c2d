"""What a source database says of its tables, and the names under which the lake keeps them.

A source is somebody else's: names may hold anything, also what looks like SQL. In the lake a table and its columns have
plain names; what cannot get one is skipped, and said so, instead of failing the rest.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

from platform_kit.database import Database

_PLAIN = re.compile(r"[a-z][a-z0-9_]{0,62}")
_LONGEST_COMMENT = 2000

# Understood by Postgres and by DuckDB's stand-in for its catalogue (which has no comments). Only what the reader may
# read; parts of a partitioned table are in the whole already.
_QUERY = """
    SELECT c.relname AS table_name, obj_description(c.oid, 'pg_class') AS table_comment,
           a.attname AS column_name, format_type(a.atttypid, a.atttypmod) AS column_type,
           a.attnotnull AS required, col_description(c.oid, a.attnum) AS column_comment
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
      AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    ORDER BY c.relname, a.attnum
"""


@dataclass(frozen=True)
class SourceColumn:
    """A column as the source has it: name, Postgres type, whether it must have a value, comment ('' for none)."""

    name: str
    type: str
    required: bool
    comment: str


@dataclass(frozen=True)
class SourceTable:
    """A table, view or foreign table of the source."""

    name: str
    comment: str
    columns: tuple[SourceColumn, ...]


@dataclass(frozen=True)
class NamedTable:
    """A table with the plain names that the lake uses; `columns` has the plain name of each column, in order."""

    name: str
    source: SourceTable
    columns: tuple[str, ...]


def read(database: Database, schema: str) -> list[SourceTable]:
    """The tables of a schema that the reader may read, by name."""
    tables: dict[str, SourceTable] = {}
    for table, comment, column, kind, required, column_comment in database.query(_QUERY, {"schema": schema}).rows():
        known = tables.get(table) or SourceTable(table, _short(comment), ())
        if column is not None:
            found = SourceColumn(column, kind, bool(required), _short(column_comment))
            known = SourceTable(table, known.comment, (*known.columns, found))
        tables[table] = known
    return list(tables.values())


def to_json(tables: Iterable[SourceTable]) -> str:
    """The tables as text that is the same for the same tables, so that versions can be compared."""
    return json.dumps([asdict(table) for table in tables], indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> list[SourceTable]:
    """The inverse of `to_json`. Raises ValueError, KeyError or TypeError for anything else."""
    return [
        SourceTable(table["name"], table["comment"], tuple(SourceColumn(**column) for column in table["columns"]))
        for table in json.loads(text)
    ]


def with_plain_names(
    tables: Sequence[SourceTable], exclude: Iterable[str] = ()
) -> tuple[list[NamedTable], dict[str, str]]:
    """The tables that the lake can hold, and those it cannot, each with the reason. `exclude` has names with `*`."""
    patterns = list(exclude)
    named: dict[str, NamedTable] = {}
    skipped: dict[str, str] = {}
    # Names that are plain already come first: a namesake in other letters does not take theirs.
    for table in sorted(tables, key=lambda each: (plain(each.name) != each.name, each.name)):
        if any(fnmatchcase(table.name, pattern) for pattern in patterns):
            continue
        name, columns = plain(table.name), tuple(plain(column.name) for column in table.columns)
        reason = _unusable(table, name, columns)
        if name in named:
            reason = f"its name would be {name}, as that of {named[name].source.name!r} is"
        if reason:
            skipped[table.name] = reason
        else:
            named[name] = NamedTable(name, table, columns)
    return sorted(named.values(), key=lambda each: each.name), skipped


def plain(name: str) -> str:
    """`name` in lower-case letters, digits and underscores: `order_items` for "Order Items"; '' if none is left."""
    if _PLAIN.fullmatch(name):
        return name
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    found = re.sub(r"[^a-z0-9]+", "_", letters).strip("_")
    return found if _PLAIN.fullmatch(found) else ""


def select(schema: str, table: NamedTable) -> str:
    """The query for all rows, its columns under their plain names."""
    columns = ", ".join(
        # Bytes become text, as in '\\xff': neither CSV nor a column of a report has bytes.
        f"{_cast(_quoted(column.name)) if column.type == 'bytea' else _quoted(column.name)} AS {_quoted(name)}"
        for column, name in zip(table.source.columns, table.columns, strict=True)
    )
    return f"SELECT {columns} FROM {_quoted(schema)}.{_quoted(table.source.name)}"  # noqa: S608  every name is quoted


def count(schema: str, table: NamedTable) -> str:
    """The query for the number of rows."""
    return f"SELECT count(*) FROM {_quoted(schema)}.{_quoted(table.source.name)}"  # noqa: S608  every name is quoted


def _unusable(table: SourceTable, name: str, columns: Sequence[str]) -> str:
    if not name:
        return "its name has no letter to begin with, or is longer than 63 characters"
    if not columns:
        return "it has no columns"
    if any("%(" in each for each in (table.name, *(column.name for column in table.columns))):
        return "'%(' in a name cannot be told from a parameter of a query"
    nameless = [column.name for column, found in zip(table.columns, columns, strict=True) if not found]
    if nameless:
        return f"columns without a plain name: {', '.join(map(repr, nameless))}"
    twice = [column.name for column, found in zip(table.columns, columns, strict=True) if columns.count(found) > 1]
    return f"columns with the same plain name: {', '.join(map(repr, twice))}" if twice else ""


def _short(comment: str | None) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in comment or "").strip()
    return text if len(text) <= _LONGEST_COMMENT else text[: _LONGEST_COMMENT - 1] + "…"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _cast(expression: str) -> str:
    return f"CAST({expression} AS text)"
