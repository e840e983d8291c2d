"""The figures of the report, and its page."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars

SUMMARY = """
    SELECT day, location, team, asset, currency, count(*) AS materialisations, sum(cpu_seconds) AS cpu_seconds,
           sum(wall_seconds) AS wall_seconds, max(peak_memory_bytes) AS peak_memory_bytes, sum(amount) AS amount
    FROM {table} GROUP BY ALL ORDER BY day, location, asset
"""
DAYS, ASSETS, BAR = 30, 20, 24


def by_day(found: "polars.DataFrame") -> dict[str, Any]:
    """Totals, for the plots that Dagster draws of numbers over materialisations."""
    last = found.filter(found["day"] == found["day"].max())
    return {
        "costs/amount": float(found["amount"].sum()),
        "costs/cpu_seconds": float(found["cpu_seconds"].sum()),
        "costs/last_day_amount": float(last["amount"].sum()),
    }


def page(found: "polars.DataFrame") -> str:
    """Markdown: by location, team, day and asset, the last days only; bars show shares."""
    if not found.height:
        return "Nothing has cost anything yet."
    days = found["day"].unique().sort()[-DAYS:]
    shown = found.filter(found["day"].is_in(days.implode()))
    parts = [f"{days[0]} to {days[-1]}. Amounts are list prices for what was used, not a bill."]
    for title, columns, most in (
        ("location", ["location"], ASSETS),
        ("team", ["team"], ASSETS),
        ("day", ["day"], DAYS),
        ("asset", ["asset", "location", "team"], ASSETS),
    ):
        parts.append(f"### By {title}\n\n{_table(shown, columns, most)}")
    return "\n\n".join(parts)


def _table(found: "polars.DataFrame", columns: list[str], most: int) -> str:
    import polars

    sums = [polars.col(name).sum() for name in ("amount", "cpu_seconds", "wall_seconds", "materialisations")]
    grouped = found.group_by([*columns, "currency"]).agg(*sums, polars.col("peak_memory_bytes").max())
    by_time = columns == ["day"]
    rows = grouped.sort("day" if by_time else "amount", descending=True).head(most).to_dicts()
    largest = max(row["amount"] for row in rows) or 1
    head = [*columns, "amount", "processor", "wall", "peak memory", "materialisations", ""]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        figures = (
            f"{row['amount']:.6f} {row['currency']}",
            f"{row['cpu_seconds']:,.1f} s",
            f"{row['wall_seconds']:,.1f} s",
            f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
            str(row["materialisations"]),
            "█" * max(1, round(BAR * row["amount"] / largest)),
        )
        lines.append([*(_cell(row[name]) for name in columns), *figures])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    """Names are a location's word: none ends a cell, or is more than text."""
    text = str(value) or "—"
    return "".join(character if character.isalnum() or character in "/_-. " else "·" for character in text[:80])
