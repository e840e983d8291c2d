"""A report's page: one HTML file without a script, which reaches for nothing when it is opened.

Titles, names and rows may hold anything. All text goes through `_text`; a policy in the page forbids its scripts and
its connections besides, should a browser ever find one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from html import escape
from importlib.resources import files
from typing import Any

from platform_kit.components.fields import Report

_CELL = 300
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Outcome:
    """What a check of the report found."""

    sentence: str
    passed: bool
    severity: str


@dataclass(frozen=True)
class Contents:
    """What a page shows. `charts`: SVG elements, one for each of the report's; `rows`: those on the page."""

    made: datetime
    place: str
    table: str
    sources: Sequence[str]
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    row_count: int
    charts: Sequence[str]
    outcomes: Sequence[Outcome]


def render(report: Report, contents: Contents) -> str:
    """The whole file."""
    style = files("platform_kit.components").joinpath("page.css").read_text(encoding="utf-8")
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">',
            f"<title>{_text(report.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>",
            _head(report, contents),
            *(_figure(report, index, drawn) for index, drawn in enumerate(contents.charts)),
            _table(report, contents),
            _footer(report, contents),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _head(report: Report, contents: Contents) -> str:
    facts = {
        "Made": f"{contents.made:%Y-%m-%d %H:%M} UTC",
        "Rows": f"{contents.row_count:,}",
        "From": ", ".join(contents.sources) or "no table",
        "Owned by": ", ".join(report.owners),
    }
    listed = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts.items())
    return (
        f"<header>\n<p class=group>{_text(report.group)}</p>\n<h1>{_text(report.title)}</h1>\n"
        f"<p>{_text(report.description)}</p>\n<dl class=facts>{listed}</dl>\n{_checks(contents.outcomes)}</header>"
    )


def _checks(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return ""
    failed = [outcome for outcome in outcomes if not outcome.passed]
    if not failed:
        return f"<p class=good>All {len(outcomes)} checks passed.</p>\n"
    items = "".join(f"<li>{_text(outcome.sentence)} ({_text(outcome.severity)})</li>" for outcome in failed)
    return (
        f"<div class=bad role=alert><p>{len(failed)} of {len(outcomes)} checks failed. "
        f"Read with care; this did not hold:</p><ul>{items}</ul></div>\n"
    )


def _figure(report: Report, index: int, drawn: str) -> str:
    chart = report.charts[index]
    picture = drawn.replace("<svg ", f'<svg role="img" aria-label="{_text(chart.description)}" ', 1)
    return (
        f"<figure>\n<h2>{_text(chart.title)}</h2>\n<div class=picture>{picture}</div>\n"
        f"<figcaption>{_text(chart.description)}</figcaption>\n</figure>"
    )


def _table(report: Report, contents: Contents) -> str:
    shown = len(contents.rows)
    cells = [_cells([row[index] for row in contents.rows]) for index in range(len(contents.columns))]
    head = "".join(
        f'<th scope="col"{css}>{_text(name)}</th>' for name, (css, _) in zip(contents.columns, cells, strict=True)
    )
    body = "\n".join(
        "<tr>" + "".join(f"<td{css}>{column[index]}</td>" for css, column in cells) + "</tr>" for index in range(shown)
    )
    note = "" if shown == contents.row_count else f"<p>The first {shown:,} of {contents.row_count:,} rows.</p>\n"
    return (
        f'<section>\n<h2 id="rows">Rows</h2>\n{note}'
        '<div class=scroll tabindex="0" role="region" aria-labelledby="rows">\n'
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>\n"
        f"{_meanings(report.columns)}</section>"
    )


def _meanings(columns: Mapping[str, str]) -> str:
    if not columns:
        return ""
    listed = "".join(f"<dt>{_text(name)}</dt><dd>{_text(meaning)}</dd>" for name, meaning in columns.items())
    return f"<h2>Columns</h2>\n<dl class=meanings>{listed}</dl>\n"


def _footer(report: Report, contents: Contents) -> str:
    return (
        f"<details><summary>How it is computed</summary><pre>{_text(report.sql)}</pre></details>\n"
        f"<footer>Table <code>{_text(contents.table)}</code> in {_text(contents.place)}. "
        "This page is complete in itself: it loads nothing.</footer>"
    )


def _cells(values: Sequence[Any]) -> tuple[str, list[str]]:
    """A column's attribute and its cells; figures share their number of decimals, as many as they need, at most two."""
    figures = [value for value in values if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)]
    decimals = next((n for n in (0, 1) if all(round(value, n) == value for value in figures)), 2)
    css = " class=number" if figures else ""
    return css, [_cell(value, decimals) for value in values]


def _cell(value: Any, decimals: int) -> str:
    if value is None:
        return '<span class=none title="no value">–</span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float, Decimal)):
        comma = "" if -10_000 < value < 10_000 and not decimals else ","  # 2013 is a year more often than not
        return f"{value:{comma}.{decimals}f}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="minutes")
    text = str(value)
    return _text(text if len(text) <= _CELL else text[: _CELL - 1] + "…")


def _text(value: str) -> str:
    return escape(value, quote=True)
