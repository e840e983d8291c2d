"""The numbers as tables: the same text in the terminal and in docs/performance.md."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from operations.benchmark.goals import Measures, goals
from operations.benchmark.numbers import STAGES, Spread, times
from operations.errors import StackError

BEGIN, END = "<!-- made by ./stack bench: begin -->", "<!-- made by ./stack bench: end -->"
NOTHING = "–"
Rows = list[Sequence[str]]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns aligned for who reads it as it is."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        return f"| {' | '.join([cells[0].ljust(widths[0]), *padded[1:]])} |"

    first, *others = widths
    ruler = "|".join(["", "-" * (first + 2), *("-" * (width + 1) + ":" for width in others), ""])
    return "\n".join([line(header), ruler, *map(line, rows)])


def document(measures: Measures, taken: str, machine: str) -> str:
    """Everything that was measured."""
    told = [f"Taken {taken} on {machine}."]
    for title, made in (
        ("Goals", _goals),
        ("From enqueued to success, seconds: median (least–most)", _ladder),
        ("Runs a minute, 24 runs at 12 in parallel", _throughput),
        ("The rest", _rest),
    ):
        rows = made(measures)
        if rows:
            told.append(f"### {title}\n\n{table(rows[0], rows[1:])}")
        if made is _goals:
            told += _reasons(measures)
    if measures.get("ladder") and not measures["ladder"].get("warm"):
        told.append("There were no warm runs: no container waited for one.")
    return "\n\n".join(told)


def put(page: str, made: str) -> str:
    """The page with what was made between its markers."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise StackError(
            "docs/performance.md has lost the place of its tables",
            f"the lines {BEGIN} and {END}",
            "put them back (git log -p docs/performance.md)",
        )
    return f"{head}{BEGIN}\n\n{made}\n\n{END}{tail}"


def _reasons(measures: Measures) -> list[str]:
    missed = [one for one in goals(measures) if one.met is False and one.reason]
    return [f"Not met, {one.what}: {one.reason}." for one in missed]


def _goals(measures: Measures) -> Rows:
    return [("goal", "wanted", "found", ""), *((one.what, one.wanted, one.found, one.said) for one in goals(measures))]


def _ladder(measures: Measures) -> Rows:
    found = measures.get("ladder")
    if not found:
        return []
    sides = {side: found.get(side) or {} for side in ("plain", "cold", "warm")}
    return [_HEADER, *(_three(stage, {side: sides[side].get(stage) for side in sides}, 2) for stage in STAGES)]


def _throughput(measures: Measures) -> Rows:
    found = measures.get("throughput")
    if not found:
        return []
    return [_HEADER, _three("runs a minute", found, 1, more_is_better=True)]


_HEADER = ("", "plain", "cold", "warm", "cold, ratio", "warm, ratio")


def _three(
    what: str, values: Mapping[str, Sequence[float] | None], digits: int, more_is_better: bool = False
) -> Sequence[str]:
    plain, cold, warm = (Spread.of(values.get(side)) for side in ("plain", "cold", "warm"))
    ratios = [times(one, plain) if more_is_better else times(plain, one) for one in (cold, warm)]
    return (what, *(_told(one, digits) for one in (plain, cold, warm)), *map(_times, ratios))


def _rest(measures: Measures) -> Rows:
    rows: Rows = []
    for name, made in _REST.items():
        if measures.get(name):
            rows += made(measures[name])
    return [("", "plain", "stack", "ratio"), *rows] if rows else []


def _two(what: str, plain: Sequence[float] | None, stack: Sequence[float] | None, digits: int = 1) -> Sequence[str]:
    first, second = Spread.of(plain), Spread.of(stack)
    return (what, _told(first, digits), _told(second, digits), _times(times(first, second)))


def _startup(found: Mapping[str, Any]) -> Rows:
    return [_two("cold `up`, until all locations are loaded, s", found.get("plain"), found.get("stack"))]


def _memory(found: Mapping[str, Any]) -> Rows:
    sums = {side: [sum(found[side].values())] if found.get(side) else None for side in ("plain", "stack")}
    rows = [_two("idle memory, MB (plain: one location, stack: two)", sums["plain"], sums["stack"], 0)]
    return [*rows, _two("a warm container, MB", None, found.get("warm"), 0)] if found.get("warm") else rows


def _deploys(found: Mapping[str, Any]) -> Rows:
    plain, stack = (found.get(side) or {} for side in ("plain", "stack"))
    named = {"deploy": "deploy of one location, s", "rollback": "rollback of one location, s"}
    return [_two(title, plain.get(name), stack.get(name)) for name, title in named.items()]


def _backfill(found: Mapping[str, Any]) -> Rows:
    named = {"year": "backfill of a year of flights, s", "marts": "dbt marts on top, s"}
    return [_two(title, None, [found[name]]) for name, title in named.items() if name in found]


def _history(found: Mapping[str, Any]) -> Rows:
    size = f"with {found['runs']:,} runs and {found['events']:,} events"
    plain, stack, few = (found.get(side) or {} for side in ("plain", "stack", "few"))
    rows = [_two(f"{query}, {size}, ms", plain.get(query), stack.get(query), 0) for query in stack or plain]
    # What has a first column is compared with plain, this with itself.
    return rows + [_two(f"{query}, with a page of runs, ms", None, values, 0) for query, values in few.items()]


_REST: dict[str, Callable[[Mapping[str, Any]], Rows]] = {
    "startup": _startup,
    "memory": _memory,
    "deploys": _deploys,
    "backfill": _backfill,
    "history": _history,
}


def _told(spread: Spread | None, digits: int) -> str:
    return spread.told(digits) if spread else NOTHING


def _times(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.1f} ×"
