"""What a report does with its rows, its checks and its page; what it does when something is wrong."""

import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import pytest

from platform_kit.components.making import ReportError

Make = Callable[..., dg.MaterializeResult[Any]]
Rows = Callable[..., list[tuple[Any, ...]]]

INJECTION = """<script>alert("1")</script>' onload='x' ]]> &lt; </svg></title>"""


def chart(kind: str, x: str, y: str, colour: str | None = None, title: str = "A title") -> dict[str, Any]:
    axes = {
        name: {"column": column, "title": title} for name, column in (("x", x), ("y", y), ("colour", colour)) if column
    }
    return {"kind": kind, "title": title, "description": title, **axes}


def page_of(result: dg.MaterializeResult[Any]) -> str:
    assert result.metadata is not None
    return Path(result.metadata["report/page"].value).read_text(encoding="utf-8")


def pictures_of(result: dg.MaterializeResult[Any]) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg .*?</svg>", page_of(result), re.DOTALL)]


def outcomes(result: dg.MaterializeResult[Any]) -> dict[str | None, bool]:
    return {check.check_name: check.passed for check in result.check_results or ()}


def test_making_it_again_leaves_the_same_rows(made: Make, rows: Rows) -> None:
    for _ in range(2):
        made("SELECT * FROM range(3) AS t(n)", name="again")
    assert rows("FROM reporting.ada_reports.again") == [(0,), (1,), (2,)]


def test_other_columns_make_the_table_anew(made: Make, rows: Rows) -> None:
    """The analyst who changes the SQL has no right, and no need, to alter a table."""
    made("SELECT 1 AS a, 2 AS b", name="changed")
    made("SELECT 'x' AS a, DATE '2013-01-01' AS c", name="changed")
    assert [row[0] for row in rows("DESCRIBE reporting.ada_reports.changed")] == ["a", "c"]


@pytest.mark.parametrize(
    ("check", "passes"),
    [
        ({"kind": "row_count", "min": 4, "max": 4}, True),
        ({"kind": "row_count", "min": 5}, False),
        ({"kind": "row_count", "max": 3}, False),
        ({"kind": "not_null", "columns": ["n"]}, True),
        ({"kind": "not_null", "columns": ["n", "letter"]}, False),
        ({"kind": "unique", "columns": ["n"]}, False),
        ({"kind": "unique", "columns": ["n", "letter"]}, True),
        ({"kind": "accepted_values", "column": "n", "values": [1, 2, 3]}, True),
        ({"kind": "accepted_values", "column": "letter", "values": ["a", "b'"]}, True),
        ({"kind": "accepted_values", "column": "letter", "values": ["a"]}, False),
        ({"kind": "accepted_values", "column": "yes", "values": [True]}, True),
        ({"kind": "no_rows", "name": "c", "sql": "SELECT n FROM reporting.reports.checked WHERE n > 3 -- x"}, True),
        ({"kind": "no_rows", "name": "c", "sql": "SELECT n FROM reporting.reports.checked WHERE n = 1;"}, False),
    ],
)
def test_a_check_tells_what_is_from_what_must_not_be(made: Make, check: dict[str, Any], passes: bool) -> None:
    sql = """FROM (VALUES (1, 'a', true), (1, 'b''', true), (2, NULL, true), (3, 'a', true)) AS t(n, letter, yes)"""
    result = made(sql, name="checked", checks=[check])
    assert list(outcomes(result).values()) == [passes]
    assert ("All 1 checks passed." in page_of(result)) == passes
    assert ("1 of 1 checks failed" in page_of(result)) != passes


def test_severity_and_blocking_are_dagster_s_own(made: Make) -> None:
    result = made("SELECT 1 AS n", checks=[{"kind": "row_count", "min": 2, "severity": "warn"}])
    (check,) = result.check_results or ()
    assert check.severity is dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize(
    ("kind", "marks"), [("bar", "bar"), ("line", "line mark"), ("heat-map", "rect"), ("scatter", "circle")]
)
def test_each_kind_of_chart_is_drawn_with_its_marks(lakes: None, made: Make, kind: str, marks: str) -> None:
    sql = "SELECT carrier, month, avg(arr_delay) AS delay FROM ingestion.raw.flights GROUP BY ALL ORDER BY ALL"
    x, y, colour = ("month", "carrier", "delay") if kind == "heat-map" else ("month", "delay", "carrier")
    (picture,) = pictures_of(made(sql, charts=[chart(kind, x, y, colour, "Delay")]))
    described = [element.get("aria-roledescription", "") for element in picture.iter()]
    assert sum(marks in each for each in described) >= 12
    text = "".join(picture.itertext())
    assert "Delay" in text
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == "Delay"


def test_categories_of_bars_stand_beside_each_other_not_on_another(made: Make) -> None:
    sql = "FROM (VALUES ('a', 'p', 1), ('a', 'q', 2), ('b', 'p', 3)) AS t(letter, colour, n)"
    (picture,) = pictures_of(made(sql, charts=[chart("bar", "n", "letter", "colour")]))
    bars = [element.get("d", "") for element in picture.iter() if element.get("aria-roledescription") == "bar"]
    tops = {bar.split(",")[1].split("h")[0] for bar in bars}
    assert len(bars) == len(tops) == 3


def test_rows_keep_the_order_of_the_sql_in_charts_and_table(made: Make) -> None:
    sql = "SELECT name, n FROM (VALUES ('m', 2), ('z', 3), ('a', 1)) AS t(name, n) ORDER BY n DESC"
    result = made(sql, charts=[chart("bar", "n", "name")])
    assert re.findall(r"<td>(\w)</td>", page_of(result)) == ["z", "m", "a"]
    labels = [text for text in pictures_of(result)[0].itertext() if text in "zma"]
    assert labels == ["z", "m", "a"]


class Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag, *(name for name, _ in attrs)]


@pytest.mark.parametrize("kind", ["bar", "line", "heat-map", "scatter"])
def test_hostile_data_names_and_titles_stay_text_in_the_charts(made: Make, kind: str) -> None:
    quoted = INJECTION.replace("'", "''")
    sql = f"""SELECT '{quoted}' AS "a.b[0]<i>", 1 AS "n'"", x", '{quoted} 2' AS c UNION ALL SELECT 'x', 2, 'y'"""
    axes = ("a.b[0]<i>", "n'\", x", "n'\", x" if kind == "heat-map" else "c")
    result = made(sql, charts=[chart(kind, *axes, INJECTION)])
    (picture,) = pictures_of(result)
    drawn = {element.tag.rpartition("}")[2] for element in picture.iter()}
    assert drawn <= {
        "svg",
        "g",
        "path",
        "line",
        "text",
        "title",
        "rect",
        "defs",
        "linearGradient",
        "stop",
        "clipPath",
        "image",
    }
    assert INJECTION[:26] in "".join(picture.itertext())
    found = Elements(page_of(result)).found
    assert not {"script", "iframe", "img", "a"} & set(found)
    assert not [name for name in found if name.startswith("on")]


def test_an_empty_report_is_a_page_too(made: Make) -> None:
    result = made("SELECT 'x' AS a, 1 AS n LIMIT 0", charts=[chart("bar", "n", "a")])
    assert "<dd>0</dd>" in page_of(result)


def test_the_page_has_some_rows_the_table_all(made: Make, rows: Rows) -> None:
    result = made("FROM range(1000) AS t(n)", name="long", rows_on_page=10)
    assert page_of(result).count("<tr>") == 11
    assert "The first 10 of 1,000 rows." in page_of(result)
    assert rows("SELECT count(*) FROM reporting.ada_reports.long") == [(1000,)]


def test_the_picture_in_the_metadata_is_small_and_harmless(made: Make) -> None:
    result = made("SELECT 'x' AS a, 1 AS n", charts=[chart("bar", "n", "a", title="A [link](https://x) <b>")])
    assert result.metadata is not None
    markdown = result.metadata["report/chart"].value
    assert markdown.startswith("![chart](data:image/svg+xml;base64,")
    assert markdown.endswith(r"A \[link\]\(https://x\) \<b\>")
    assert len(markdown) < 50_000


def test_columns_are_traced_to_those_they_are_computed_from(lakes: None, made: Make) -> None:
    sql = """WITH late AS (SELECT carrier AS c, arr_delay - dep_delay AS lost FROM ingestion.raw.flights)
             SELECT a.*, avg(late.lost) AS "Lost", count(*) AS flights
             FROM late JOIN ingestion.raw.airlines AS a ON a.carrier = late.c GROUP BY ALL"""
    result = made(sql)
    assert result.metadata is not None
    lineage = result.metadata["dagster/column_lineage"].deps_by_column
    assert {
        name: sorted(f"{dep.asset_key.to_user_string()}.{dep.column_name}" for dep in deps)
        for name, deps in lineage.items()
    } == {
        "carrier": ["ingestion/raw/airlines.carrier"],
        "name": ["ingestion/raw/airlines.name"],
        "Lost": ["ingestion/raw/flights.arr_delay", "ingestion/raw/flights.dep_delay"],
    }


def test_sql_that_cannot_be_traced_makes_a_report_all_the_same(lakes: None, made: Make) -> None:
    sql = "SELECT * FROM (PIVOT (SELECT carrier, month FROM ingestion.raw.flights) ON month IN (1, 2) USING count(*))"
    result = made(sql)
    assert result.metadata is not None
    assert isinstance(result.metadata["dagster/column_lineage"], dg.TableColumnLineage)


def test_sql_without_an_end_is_ended(made: Make) -> None:
    begin = time.monotonic()
    with pytest.raises(ReportError, match="took more than 1 seconds"):
        made("SELECT count(*) AS n FROM range(10000000) a, range(10000000) b", timeout_seconds=1)
    assert time.monotonic() - begin < 20


def test_a_lake_that_it_cannot_read_is_named_with_what_to_do(made: Make) -> None:
    with pytest.raises(ReportError, match=r"reporting cannot read the lake sales.*access\.yaml"):
        made("FROM sales.raw.orders")


def test_a_view_is_read_with_the_lake_behind_it(lakes: None, made: Make, rows: Rows) -> None:
    made("SELECT count(*) AS n FROM analytics.staging.stg_flights", name="of_a_view")
    assert rows("FROM reporting.ada_reports.of_a_view") == [(336776,)]


def test_a_view_on_a_lake_that_it_cannot_read_is_no_way_around(lakes: None, made: Make) -> None:
    with pytest.raises(ReportError, match="reporting cannot read the lake sales"):
        made("FROM analytics.staging.stg_orders")


def test_a_table_that_is_not_there_is_named_with_what_to_do(lakes: None, made: Make) -> None:
    with pytest.raises(ReportError, match=r"found no table ingestion\.ada_raw\.flihgts.*materialise"):
        made("FROM ingestion.raw.flihgts")


def test_a_column_that_a_star_does_not_give_is_refused_before_anything_is_written(made: Make, rows: Rows) -> None:
    made("SELECT 1 AS n", name="kept")
    with pytest.raises(ReportError, match=r"charts\.0\.y\.column: found 'letter'.*expected one of n"):
        made("SELECT * FROM range(9) AS t(n)", name="kept", charts=[chart("bar", "n", "letter")])
    assert rows("FROM reporting.ada_reports.kept") == [(1,)]


def test_a_failed_report_leaves_the_page_as_it_was(made: Make) -> None:
    before = page_of(made("SELECT 1 AS n", name="page", title="Before"))
    with pytest.raises(ReportError):
        made("FROM sales.raw.orders", name="page", title="After")
    assert "Before" in before
    assert not list(Path(made("SELECT 1 AS n", name="page").metadata["report/page"].value).parent.glob("page.[!h]*"))
