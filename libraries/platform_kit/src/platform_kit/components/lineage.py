"""Which columns a report's columns are made of."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dagster import AssetKey, TableColumnDep, TableColumnLineage

from platform_kit.components.statements import Statement, Table

Sources = Mapping[Table, Sequence[str]]
"""The columns of each table that a statement reads."""


def column_lineage(statement: Statement, columns: Sequence[str], sources: Sources) -> TableColumnLineage:
    """The columns that each of `columns` is computed from; one that cannot be traced has none, rather than wrong ones.

    Columns that only filter, join or sort are not among them, as in dbt's lineage.
    """
    from sqlglot.errors import SqlglotError

    try:
        return TableColumnLineage(
            {name: deps for name, deps in _traced(statement, columns, sources) if deps},
        )
    except SqlglotError:  # it knows less SQL than DuckDB does
        return TableColumnLineage({})


def _traced(
    statement: Statement, columns: Sequence[str], sources: Sources
) -> Iterator[tuple[str, list[TableColumnDep]]]:
    import sqlglot
    from sqlglot.errors import SqlglotError
    from sqlglot.lineage import lineage
    from sqlglot.optimizer.qualify import qualify
    from sqlglot.optimizer.scope import build_scope

    schema: dict[str, Any] = {}
    for table, names in sources.items():
        schema.setdefault(table.catalog, {}).setdefault(table.schema, {})[table.table] = dict.fromkeys(names, "TEXT")
    known = {
        _key(table, name): TableColumnDep(AssetKey(table.path), name)
        for table, names in sources.items()
        for name in names
    }
    parsed = sqlglot.parse_one(statement.sql, dialect="duckdb")
    qualified = qualify(parsed, dialect="duckdb", schema=schema, validate_qualify_columns=False, identify=False)
    scope = build_scope(qualified)
    for name in columns:
        try:  # names are compared in lower case, as DuckDB does
            node = lineage(name.lower(), qualified, schema=schema, scope=scope, dialect="duckdb")
        except SqlglotError:
            continue
        found = {key for leaf in node.walk() for key in _leaf(leaf)}
        yield name, [known[key] for key in sorted(found) if key in known]


def _key(table: Table, column: str) -> tuple[str, str, str, str]:
    return table.catalog, table.schema, table.table, column.lower()


def _leaf(node: Any) -> Iterator[tuple[str, str, str, str]]:
    from sqlglot import exp

    table = node.expression
    if isinstance(table, exp.Table):
        column = exp.to_column(node.name, dialect="duckdb").name
        yield _key(Table(table.catalog, table.db, table.name), column)
