"""Which rows of a table belong to the partitions of a run."""

# ruff: noqa: S608  SQL is what this module builds: names are quoted, and a partition expression is the asset's own code.

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

from platform_kit.lake.connection import literal
from platform_kit.lake.errors import LakeError


@dataclass(frozen=True)
class Partition:
    """One partition: its key and, where it is a span of time, its start (inclusive) and end (exclusive)."""

    key: str
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True)
class Partitions:
    """The partitions of one run, and the SQL expression that tells to which a row belongs."""

    expression: str
    members: tuple[Partition, ...]

    def predicate(self, expression_type: str) -> str:
        """SQL that is true for the rows of these partitions; adjoining spans are one comparison, not hundreds."""
        if not self.members:
            return "FALSE"
        if self.members[0].start is None:
            keys = ", ".join(literal(member.key) for member in self.members)
            return f"CAST({self.expression} AS VARCHAR) IN ({keys})"
        spans: list[list[datetime]] = []
        for member in sorted(self.members, key=lambda m: _known(m.start)):
            start, end = _known(member.start), _known(member.end)
            if spans and spans[-1][1] == start:
                spans[-1][1] = end
            else:
                spans.append([start, end])
        return " OR ".join(
            f"({self.expression} >= {time_literal(start, expression_type)}"
            f" AND {self.expression} < {time_literal(end, expression_type)})"
            for start, end in spans
        )

    def counting(self, source: str, expression_type: str) -> str:
        """SQL that gives key and number of rows for every partition that has any: one pass, however many there are."""
        if not self.members or self.members[0].start is None:
            return f"SELECT CAST({self.expression} AS VARCHAR), count(*) FROM {source} GROUP BY ALL"
        spans = ", ".join(
            f"({literal(m.key)}, {time_literal(_known(m.start), expression_type)},"
            f" {time_literal(_known(m.end), expression_type)})"
            for m in self.members
        )
        return (
            f"WITH part AS (SELECT {self.expression} AS at FROM {source}), "
            f"span(key, starts, ends) AS (VALUES {spans}) "
            "SELECT key, count(*) FROM part JOIN span ON part.at >= starts AND part.at < ends GROUP BY ALL"
        )


def of_run(context: Any, metadata: Any, name: object) -> Partitions | None:
    """The partitions that an output or input context is about; None when the asset has none.

    `metadata` is the asset's: its entry `partition_expr` is the SQL expression, as in Dagster's database I/O managers.
    """
    if not context.has_asset_partitions:
        return None
    expression = metadata.get("partition_expr")
    if not isinstance(expression, str) or not expression:
        raise LakeError(
            f"{name} is partitioned, but does not say by what: give the asset metadata={{'partition_expr': '<column>'}}"
            ", a column or SQL expression that is a DATE or TIMESTAMP (or the key, where partitions are not of time)"
        )
    return Partitions(expression, tuple(_members(context.asset_partitions_def, context.asset_partition_keys)))


def _members(definition: Any, keys: Sequence[str]) -> list[Partition]:
    from dagster import MultiPartitionsDefinition, TimeWindowPartitionsDefinition

    if isinstance(definition, MultiPartitionsDefinition):
        raise LakeError("partitions of several dimensions are not supported by the lake: partition by one of them")
    if not isinstance(definition, TimeWindowPartitionsDefinition):
        return [Partition(key) for key in keys]
    windows = ((key, definition.time_window_for_partition_key(key)) for key in keys)
    return [Partition(key, window.start, window.end) for key, window in windows]


def time_literal(moment: datetime, expression_type: str) -> str:
    """A partition's boundary as SQL of the expression's type.

    A TIMESTAMP without a time zone is taken as local time of the partitions' own time zone.
    """
    if expression_type == "DATE":
        if moment.time() != time.min:
            raise LakeError(f"partition_expr is a DATE, but a partition begins at {moment}: use a TIMESTAMP")
        return f"DATE '{moment.date()}'"
    if expression_type == "TIMESTAMP WITH TIME ZONE":
        return f"TIMESTAMPTZ '{moment.isoformat(sep=' ')}'"
    if expression_type.startswith("TIMESTAMP"):
        return f"TIMESTAMP '{moment.replace(tzinfo=None).isoformat(sep=' ')}'"
    raise LakeError(f"partition_expr is of type {expression_type}: expected a DATE or a TIMESTAMP")


def _known(moment: datetime | None) -> datetime:
    if moment is None:
        raise LakeError("partitions of time and of keys are mixed")
    return moment
