"""Events and lakes: a table holds, partition by partition, the rows that its newest materialisations tell of."""

from collections.abc import Mapping

from operations.invariants.facts import Facts, Materialised, Table, Violations, violation

AGAIN = "materialise it again: a write replaces the partition's rows, so nothing is there twice afterwards"
LOST = "the lake is older than Dagster's history: was it restored alone? ./stack restore brings both back together"


def check(facts: Facts) -> Violations:
    """Tables that are not what their assets' pages say. What is being written is looked at next time."""
    told: dict[tuple[str, ...], list[Materialised]] = {}
    for one in facts.materialised:
        told.setdefault(one.asset, []).append(one)
    for table in facts.tables:
        if table.asset in facts.being_written or table.asset not in told:
            continue
        newest = told[table.asset]
        if not table.exists:
            yield violation("no-table", _name(table.asset), "is materialised, but its lake has no such table",
                            "the table that its materialisation names", AGAIN)  # fmt: skip
            continue
        yield from _snapshots(table, newest)
        yield from _rows(table, newest)


def _snapshots(table: Table, newest: list[Materialised]) -> Violations:
    last = max((one.snapshot for one in newest if one.snapshot is not None), default=None)
    if last is not None and table.snapshot is not None and last > table.snapshot:
        yield violation("lost-snapshot", _name(table.asset), f"was written as snapshot {last} of its lake, which is at"
                        f" {table.snapshot}", "a lake that has what was told to be in it", LOST)  # fmt: skip


def _rows(table: Table, newest: list[Materialised]) -> Violations:
    by_partition = {one.partition: one.rows for one in newest if one.partition is not None and one.rows is not None}
    whole = next((one.rows for one in newest if one.partition is None), None)
    if by_partition and table.partitions and set(table.partitions) <= set(by_partition):
        yield from _each(table, by_partition)
        return
    expected = sum(by_partition.values()) if by_partition else whole
    if expected is not None and expected != table.rows:
        yield violation("other-rows", _name(table.asset), f"holds {table.rows} rows",
                        f"{expected}, as its newest materialisations say", AGAIN, table.rows, expected)  # fmt: skip


def _each(table: Table, told: Mapping[str, int]) -> Violations:
    wrong = {key: rows for key, rows in told.items() if table.partitions.get(key, 0) != rows}
    for key, rows in sorted(wrong.items())[:20]:
        here = table.partitions.get(key, 0)
        yield violation("other-rows", f"{_name(table.asset)}, partition {key}", f"holds {here} rows",
                        f"{rows}, as its newest materialisation says", AGAIN, here, rows)  # fmt: skip


def _name(asset: tuple[str, ...]) -> str:
    return f"asset {'/'.join(asset)}"
