"""Checks of a report, as its file writes them and as they are asked of its table."""

# ruff: noqa: S608  SQL is what this module builds: names are quoted, and a check's own SQL is parsed before.

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from dagster import AssetCheckResult, AssetCheckSeverity, AssetKey, MetadataValue
from pydantic import Field, model_validator

from platform_kit.components.legal import Fields, Finding, Name, Names, Sql, refusal
from platform_kit.components.statements import parse
from platform_kit.environment import Environment

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# What each kind takes beside name, description, severity and blocking: what it needs, and what it may have.
_FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "row_count": (set(), {"min", "max"}),
    "not_null": ({"columns"}, set()),
    "unique": ({"columns"}, set()),
    "accepted_values": ({"column", "values"}, set()),
    "no_rows": ({"name", "sql"}, set()),
}
_OF_ONE_KIND = ("columns", "column", "values", "min", "max", "sql")
_SHOWN = 5


class Check(Fields):
    """Something that must hold of the report's table."""

    kind: Literal["row_count", "not_null", "unique", "accepted_values", "no_rows"]
    name: Name | None = Field(None, description="Its name in the UI; made of kind and columns where it is left out.")
    description: str | None = None
    severity: Literal["error", "warn"] = "error"
    blocking: bool = Field(False, description="Whether a failure stops what builds on the report, and fails the run.")
    columns: Names | None = Field(None, description="not_null, unique: the columns; unique takes them together.")
    column: str | None = Field(None, description="accepted_values: the column.")
    values: Annotated[list[str | int | float | bool], Field(min_length=1)] | None = Field(
        None, description="accepted_values: the legal values. NULL is legal too, unless not_null forbids it."
    )
    min: Annotated[int, Field(ge=0)] | None = Field(None, description="row_count: at least so many.")
    max: Annotated[int, Field(ge=0)] | None = Field(None, description="row_count: at most so many.")
    sql: Sql | None = Field(None, description="no_rows: a SELECT that finds what must not be.")

    @model_validator(mode="after")
    def _fields_of_its_kind(self) -> "Check":
        needed, allowed = _FIELDS[self.kind]
        given = {name for name in (*_OF_ONE_KIND, "name") if getattr(self, name) is not None}
        legal = ", ".join(sorted(needed | allowed))
        findings: list[Finding] = [
            ((name,), getattr(self, name), f"found {name} for kind {self.kind}, which takes {legal}")
            for name in sorted(given - needed - allowed - {"name"})
        ]
        findings += [((), self.kind, f"kind {self.kind} needs {name}") for name in sorted(needed - given)]
        if self.kind == "row_count" and not self._has_range():
            findings.append(((), self.kind, "kind row_count needs min, max or both, and min not above max"))
        if findings:
            raise refusal("Check", findings)
        return self

    def _has_range(self) -> bool:
        if self.min is None or self.max is None:
            return (self.min, self.max) != (None, None)
        return self.min <= self.max

    @property
    def used_columns(self) -> list[str]:
        """The columns it looks at."""
        return [*(self.columns or ()), *([self.column] if self.column else [])]

    @property
    def check_name(self) -> str:
        """Its name, or one made of kind and columns."""
        return self.name or re.sub(r"[^a-z0-9]+", "_", "_".join([self.kind, *self.used_columns]).lower()).strip("_")

    @property
    def sentence(self) -> str:
        """What must hold, for people."""
        columns = ", ".join(self.used_columns)
        if self.kind == "row_count":
            return " and ".join(
                f"{word} {number:,} rows"
                for word, number in (("at least", self.min), ("at most", self.max))
                if number is not None
            )
        return {
            "not_null": f"no NULL in {columns}",
            "unique": f"{columns}: no value twice",
            "accepted_values": f"{columns} is one of {', '.join(map(str, self.values or ()))}",
            "no_rows": "its SELECT finds no row",
        }[self.kind]


def evaluate(
    check: Check, connection: "DuckDBPyConnection", table: str, environment: Environment, key: AssetKey
) -> AssetCheckResult:
    """Ask a check of the report's table (an SQL identifier)."""
    passed, metadata = _answer(check, connection, table, environment)
    return AssetCheckResult(
        passed=passed,
        asset_key=key,
        check_name=check.check_name,
        severity=AssetCheckSeverity.WARN if check.severity == "warn" else AssetCheckSeverity.ERROR,
        description=check.sentence,
        metadata=metadata,
    )


def _answer(
    check: Check, connection: "DuckDBPyConnection", table: str, environment: Environment
) -> tuple[bool, dict[str, Any]]:
    if check.kind == "row_count":
        rows = _number(connection, f"SELECT count(*) FROM {table}")
        return (check.min or 0) <= rows <= (rows if check.max is None else check.max), {"rows": rows}
    if check.kind == "not_null":
        counts = {
            name: _number(connection, f"SELECT count(*) FROM {table} WHERE {_quoted(name)} IS NULL")
            for name in check.used_columns
        }
        return not any(counts.values()), {f"nulls/{name}": count for name, count in counts.items()}
    query, what = _offending(check, table, environment)
    found = _number(connection, f"SELECT count(*) FROM ({query}\n)")
    metadata: dict[str, Any] = {what: found}
    if found:
        # Not the values themselves: they may be personal, and events are kept.
        metadata["query"] = MetadataValue.md("\n".join(f"    {line}" for line in query.splitlines()))
    return not found, metadata


def _offending(check: Check, table: str, environment: Environment) -> tuple[str, str]:
    """A query for what must not be, and how its rows are called."""
    columns = ", ".join(_quoted(name) for name in check.used_columns)
    if check.kind == "unique":
        return f"SELECT {columns} FROM {table} GROUP BY {columns} HAVING count(*) > 1", "values there twice"
    if check.kind == "accepted_values":
        legal = ", ".join(_literal(value) for value in check.values or ())
        return f"SELECT {columns} FROM {table} WHERE CAST({columns} AS VARCHAR) NOT IN ({legal})", "rows with others"
    return parse(check.sql or "").placed(environment), "rows found"


def _number(connection: "DuckDBPyConnection", query: str) -> int:
    return int(connection.execute(query).fetchall()[0][0])


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return "'" + text.replace("'", "''") + "'"
