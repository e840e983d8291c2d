"""SQL that only reads tables of lakes: what it reads, what it gives, and how it reads a developer's own tables.

DuckDB's own parser says what a text means, so nothing can be meant here and done otherwise there. Whatever is not known
to be harmless is refused: files, functions that read the machine, other catalogs, anything but one SELECT.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from platform_kit.environment import Environment

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_SOURCES = frozenset({"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "PIVOT"})
_TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series", "json_each"})
# Change something, wait, or tell about the machine and the session.
_REFUSED_FUNCTIONS = frozenset(
    {
        *("current_connection_id", "current_query", "current_query_id", "current_setting", "current_transaction_id"),
        *("add_parquet_key", "checkpoint", "currval", "export_state", "finalize", "force_checkpoint", "getenv"),
        *(
            "getvariable",
            "json_execute_serialized_sql",
            "nextval",
            "pg_sleep",
            "query",
            "query_table",
            "setseed",
            "sleep_ms",
            "stats",
        ),
        *("txid_current", "write_log"),
    }
)
# Functions of tables, should DuckDB ever take one where a value stands; and those that take SQL as a text: binding it,
# they open files, and their error messages quote what is in them.
_REFUSED_FAMILIES = re.compile(
    r"(?i)(read|parquet|sniff|glob|duckdb|ducklake|pragma|postgres|sqlite|json_(de)?serialize|json_execute|parse_duckdb)"
    r"(_|$)"
)
_NOT_A_LAKE = frozenset({"system", "temp", "memory"})
_NOT_DATA = frozenset({"information_schema", "pg_catalog"})
_LAKE = re.compile(r"[a-z][a-z0-9_]{0,30}")
_PART = r'("(?:[^"]|"")+"|[^\W\d][\w$]*)'
_NAME = re.compile(rf"{_PART}\s*\.\s*{_PART}\s*\.\s*{_PART}")
_WRITE_IT_SO = "write FROM <lake>.<schema>.<table>, as the asset key has it: FROM ingestion.raw.flights"


class StatementError(ValueError):
    """SQL that is not one harmless SELECT; the message says what was found, what is expected and what to do."""


@dataclass(frozen=True, order=True)
class Table:
    """A table as an asset key says it."""

    catalog: str
    schema: str
    table: str

    @property
    def path(self) -> list[str]:
        """The asset key's parts."""
        return [self.catalog, self.schema, self.table]

    def __str__(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True)
class Statement:
    """One SELECT. `tables`: what it reads, by name; `columns`: what it gives, None where a `*` hides it."""

    sql: str
    tables: tuple[Table, ...]
    columns: tuple[str, ...] | None
    _places: tuple[tuple[int, int, Table], ...] = field(repr=False)

    def placed(self, environment: Environment) -> str:
        """The same SQL on the tables of this environment: locally the schemas are the developer's own."""
        text = self.sql
        for start, end, table in sorted(self._places, reverse=True):
            parts = (table.catalog, environment.schema(table.schema), table.table)
            text = text[:start] + ".".join(_quoted(part) for part in parts) + text[end:]
        return text


@dataclass
class _Found:
    """What a walk through the parsed statement has met."""

    tables: list[tuple[int, Table]] = field(default_factory=list)
    columns: list[list[str]] = field(default_factory=list)


@cache
def parse(sql: str) -> Statement:
    """What `sql` reads and gives. Raises StatementError when it is anything but one harmless SELECT."""
    sql = sql.strip().rstrip(";").rstrip()
    node = _parsed(sql)
    found = _Found()
    _visit(node, frozenset(), found)
    places = tuple(_place(sql, offset, table) for offset, table in found.tables)
    tables = tuple(sorted({table for _, table in found.tables}))
    _refuse_long_columns(found.columns, tables)
    return Statement(sql, tables, _columns(node), places)


def _parsed(sql: str) -> dict[str, Any]:
    if "\0" in sql:
        raise StatementError("found a NUL, expected text: retype the SQL")
    # As a literal: with a parameter, DuckDB would import pandas where that is installed, which takes a second.
    text = "'" + sql.replace("'", "''") + "'"
    answer = json.loads(_parser().execute(f"SELECT json_serialize_sql({text}::VARCHAR)").fetchall()[0][0])
    if answer["error"]:
        if answer["error_type"] == "not implemented":
            raise StatementError(
                f"found {sql.split(maxsplit=1)[0].upper()!r}, expected one SELECT: a report reads and changes nothing "
                "(a PIVOT goes into a subquery and lists its values)"
            )
        position = int(answer.get("position") or 0)
        line = sql.encode()[:position].count(b"\n") + 1
        raise StatementError(f"DuckDB does not understand line {line} of the SQL: {answer['error_message']}")
    statements = answer["statements"]
    if len(statements) != 1:
        raise StatementError(f"found {len(statements)} statements, expected one SELECT")
    return dict(statements[0]["node"])


@cache
def _parser() -> "DuckDBPyConnection":
    import duckdb

    # It parses and never runs what it is given; without access to files all the same.
    return duckdb.connect(":memory:", config={"enable_external_access": False, "threads": 1})


def _visit(node: object, ctes: frozenset[str], found: _Found) -> None:
    if isinstance(node, list):
        for each in node:
            _visit(each, ctes, found)
    if not isinstance(node, dict):
        return
    if "modifiers" in node:
        ctes = _visit_query(node, ctes, found)
    elif "sample" in node and "alias" in node:
        _visit_source(node, ctes, found)
    elif "class" in node:
        _visit_expression(node, found)
    for key, child in node.items():
        if key != "cte_map":
            _visit(child, ctes, found)


def _visit_query(node: dict[str, Any], ctes: frozenset[str], found: _Found) -> frozenset[str]:
    """The names that a query's parts see: each WITH sees those before it, a recursive one itself."""
    if node["type"] not in _NODES:
        raise StatementError(f"found {node['type']}, expected SELECT: a report reads and changes nothing")
    if node["type"] == "RECURSIVE_CTE_NODE":
        ctes |= {node["cte_name"].lower()}
    for entry in (node.get("cte_map") or {}).get("map", ()):
        _visit(entry["value"], ctes, found)
        ctes |= {entry["key"].lower()}
    return ctes


def _visit_source(node: dict[str, Any], ctes: frozenset[str], found: _Found) -> None:
    kind = node["type"]
    if kind not in _SOURCES:
        raise StatementError(f"found {kind}, expected a table of a lake: {_WRITE_IT_SO}")
    if kind == "TABLE_FUNCTION" and node["function"].get("function_name") not in _TABLE_FUNCTIONS:
        name = node["function"].get("function_name")
        raise StatementError(
            f"found FROM {name}(…), expected a table of a lake, or one of {', '.join(sorted(_TABLE_FUNCTIONS))}: "
            "a report reads no files; let a location with sources load them"
        )
    if kind == "BASE_TABLE":
        parts = (node["catalog_name"], node["schema_name"], node["table_name"])
        if parts[:2] != ("", "") or parts[2].lower() not in ctes:
            found.tables.append((node["query_location"], _checked(*parts)))


def _visit_expression(node: dict[str, Any], found: _Found) -> None:
    if node["class"] == "PARAMETER":
        raise StatementError("found a parameter (? or $1), expected its value: nobody is asked for one")
    if node["class"] == "COLUMN_REF":
        found.columns.append(node["column_names"])
    name = node.get("function_name")
    if name and (
        name.lower() in _REFUSED_FUNCTIONS
        or _REFUSED_FAMILIES.match(name)
        or node.get("catalog")
        or node.get("schema") not in ("", "main")
    ):
        raise StatementError(f"found the function {name}(): a report computes from its tables alone; leave it out")


def _checked(catalog: str, schema: str, table: str) -> Table:
    name = ".".join(part for part in (catalog, schema, table) if part)
    if not (catalog and schema):
        raise StatementError(f"found FROM {name}, expected a table with its lake: {_WRITE_IT_SO}")
    if not _LAKE.fullmatch(catalog) or catalog in _NOT_A_LAKE or schema.lower() in _NOT_DATA:
        raise StatementError(f"found FROM {name}, which is no table of a lake: {_WRITE_IT_SO}")
    if name != name.lower():
        raise StatementError(f"found FROM {name}, expected lower case: the asset key is {name.lower()!r}")
    return Table(catalog, schema, table)


def _place(sql: str, offset: int, table: Table) -> tuple[int, int, Table]:
    """Start and end of a table's name. DuckDB counts bytes."""
    start = len(sql.encode()[:offset].decode(errors="replace"))
    match = _NAME.match(sql, start)
    if not match or [_plain(part) for part in match.groups()] != table.path:
        raise StatementError(f"found {table} written in pieces, expected {table}: leave out what is between its parts")
    return match.start(), match.end(), table


def _refuse_long_columns(columns: list[list[str]], tables: tuple[Table, ...]) -> None:
    # Locally the schema has another name, so such a column would be found in production only.
    prefixes = {(each.catalog, each.schema) for each in tables} | {(each.schema, each.table) for each in tables}
    for names in columns:
        if len(names) > 2 and tuple(names[:2]) in prefixes:
            raise StatementError(
                f"found the column {'.'.join(names)}, expected {names[-1]} or alias.{names[-1]}: "
                "give the table an alias, FROM … AS f, and write f." + names[-1]
            )


def _columns(node: dict[str, Any]) -> tuple[str, ...] | None:
    while node["type"] == "SET_OPERATION_NODE":
        node = node.get("left") or node["children"][0]
    names = list(_names(node.get("select_list") or ()))
    return None if not names or None in names else tuple(name for name in names if name)


def _names(select_list: Any) -> Iterator[str | None]:
    for each in select_list:
        if each["class"] == "COLUMN_REF":
            yield each["alias"] or each["column_names"][-1]
        else:
            yield each["alias"] or None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part
