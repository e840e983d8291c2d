"""Where tables and models differ, by Alembic's own comparison, in words."""

from collections.abc import Iterator
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData

from platform_kit.migrations.chain import SCHEMA

_NOT_OURS = ("public", "information_schema", SCHEMA)
_WHAT = {"modify_type": "type", "modify_nullable": "nullable", "modify_default": "default", "modify_comment": "comment"}


def options(metadata: MetaData | None, *, everything: bool) -> dict[str, Any]:
    """What Alembic is told of the database: the same for running revisions, comparing and writing new ones.

    `everything`: whatever is in the database was made by the revisions, so a table without a model is a difference.
    """
    modelled = {table.schema for table in metadata.tables.values()} if metadata is not None else set()

    def include_name(name: str | None, kind: str, _parents: Any) -> bool:
        if kind != "schema":
            return True
        # The lake's catalog is DuckLake's alone: never compared, never touched.
        return name not in (None, *_NOT_OURS) and (everything or name in modelled)

    def include_object(_object: Any, _name: str | None, kind: str, reflected: bool, model: Any) -> bool:
        # A running location stores tables without models, by upsert, also beside those with one.
        return everything or not (kind == "table" and reflected and model is None)

    return {
        "target_metadata": metadata,
        "version_table_schema": SCHEMA,
        "include_schemas": True,
        "include_name": include_name,
        "include_object": include_object,
        "compare_type": True,
        "compare_server_default": True,
    }


def differences(connection: Connection, metadata: MetaData, *, everything: bool) -> list[str]:
    """A line for each thing that the models say and the tables do not, or the other way round."""
    context = MigrationContext.configure(connection, opts=options(metadata, everything=everything))
    return [line for change in compare_metadata(context, metadata) for line in _lines(change)]


def _lines(change: Any) -> Iterator[str]:
    for one in change if isinstance(change, list) else [change]:
        kind = one[0]
        if kind in _WHAT:
            _, schema, table, column, _, found, expected = one
            yield (
                f"{schema}.{table}: column {column}: {_WHAT[kind]} is {_value(found)} in the database, "
                f"{_value(expected)} in the models"
            )
        elif kind in ("add_column", "remove_column"):
            yield _sides(kind, f"{one[1]}.{one[2]}: column {one[3].name}")
        elif kind in ("add_table", "remove_table"):
            yield _sides(kind, f"table {one[1].schema}.{one[1].name}")
        else:
            yield _sides(kind, _other(kind, one[1]))


def _other(kind: str, thing: Any) -> str:
    what = kind.partition("_")[2].replace("_", " ").replace("fk", "foreign key")
    table = getattr(thing, "table", thing)
    where = ".".join(str(part) for part in (table.schema, table.name) if part)
    if table is thing:
        return f"{where}: {what}"
    columns = ", ".join(column.name for column in thing.columns)
    return f"{where}: {what} {thing.name or ''}({columns})"


def _sides(kind: str, what: str) -> str:
    if kind.startswith("add_"):
        return f"{what} is in the models, not in the database"
    return f"{what} is in the database, not in the models"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(getattr(value, "arg", value))
