"""A report's page: complete in itself, and harmless whatever the data, the names and the titles are."""

from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest

from platform_kit.components.fields import Report
from platform_kit.components.page import Contents, Outcome, render

INJECTIONS = [
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "<svg onload=alert(1)>",
    "</pre></table></main><iframe src='https://example.com'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<link rel=stylesheet href=https://example.com/x.css>",
    "<base href=https://example.com/>",
    "<meta http-equiv=refresh content='0;url=https://example.com'>",
    "<!--", "]]>", "&lt;script&gt;", "{{ 1 }}", "\u202e<b>",
]  # fmt: skip
TAGS = {
    *("html", "head", "meta", "link", "title", "style", "body", "main", "header", "section", "footer"),
    *("h1", "h2", "p", "div", "span", "dl", "dt", "dd", "ul", "li", "figure", "svg", "figcaption"),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary", "pre", "code"),
}
MADE = datetime(2026, 11, 21, 8, 30, tzinfo=UTC)


class Page(HTMLParser):
    """The elements of a page, their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def attribute(self, tag: str, name: str) -> list[str | None]:
        return [attributes[name] for found, attributes in self.elements if found == tag and name in attributes]


def report(text: str = "x", **fields: Any) -> Report:
    chart = {"kind": "bar", "title": text, "description": text}
    axes = {"x": {"column": "a", "title": text}, "y": {"column": "a", "title": text}}
    return Report.model_validate(
        {
            **{"title": text, "description": text, "owners": ["team:x"], "sql": "SELECT 1 AS a -- " + text},
            **{"columns": {"a": text}, "charts": [{**chart, **axes}], **fields},
        }
    )


def contents(text: str = "x", **fields: Any) -> Contents:
    shown: dict[str, Any] = {
        **{"made": MADE, "place": "local", "table": text, "sources": [text], "columns": [text], "rows": [[text]]},
        **{"row_count": 1, "charts": ["<svg ></svg>"], "outcomes": [Outcome(text, False, "error")]},
    }
    return Contents(**{**shown, **fields})


@pytest.mark.parametrize("text", INJECTIONS)
def test_nothing_that_is_shown_becomes_a_part_of_the_page(text: str) -> None:
    page = Page(render(report(text), contents(text)))
    assert {tag for tag, _ in page.elements} <= TAGS
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert "src" not in attributes
        assert "href" not in attributes or tag == "link"
    assert page.text.count(text) >= 9, "as text, it is all there"
    assert page.attribute("svg", "aria-label") == [text]


def test_it_names_no_address_and_forbids_scripts_and_connections() -> None:
    text = render(report(), contents())
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    page = Page(text)
    assert page.attribute("link", "href") == ["data:,"], "else a browser asks for an icon"
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "script" not in policy


def test_it_says_what_when_and_from_where() -> None:
    text = Page(render(report("Delays"), contents(sources=["a.b.c", "d.e.f"], row_count=12345))).text
    for said in ("Delays", "2026-11-21 08:30 UTC", "12,345", "a.b.c, d.e.f", "team:x", "The first 1 of 12,345 rows."):
        assert said in text


def test_a_failed_check_is_shown_before_the_figures() -> None:
    outcomes = [Outcome("no NULL in a", False, "error"), Outcome("b is one of 1, 2", True, "warn")]
    text = Page(render(report(), contents(outcomes=outcomes))).text
    assert "1 of 2 checks failed" in text
    assert text.index("no NULL in a (error)") < text.index("Rows\n")
    assert "b is one of" not in text
    assert "All 2 checks passed." in Page(render(report(), contents(outcomes=outcomes[1:] * 2))).text


def test_values_are_written_for_people() -> None:
    rows = [
        [1234567, 2013, 1.5, None, True, Decimal("1.25"), date(2013, 1, 2), datetime(2013, 1, 2, 3, 4), "long " * 99],
        [-7, 1, 2.0, None, False, Decimal("3"), None, None, float("nan")],
    ]
    page = render(report(), contents(columns=list("abcdefghi"), rows=rows))
    for cell in ("1,234,567", "2013", "1.5", "2.0", "–", "yes", "no", "1.25", "3.00", "2013-01-02", "2013-01-02 03:04"):
        assert f">{cell}<" in page
    assert "…</td>" in page, "a long text is cut"


def test_figures_that_are_no_numbers_are_shown_too() -> None:
    assert "<td class=number>inf</td>" in render(report(), contents(rows=[[float("inf")], [float("nan")], [1.0]]))
