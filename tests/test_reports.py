"""Promise: an analyst's report is one YAML file; its page needs no network, and what is wrong is shown."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from operations.checking.definitions import INSIDE, _reason
from tests.support.deployment import ARTIFACTS, Deployment, docker, lake_rows
from tests.support.flights import source_table
from tests.support.graphql import GraphQL

pytestmark = pytest.mark.needs("ingestion", "analytics", "reporting")

JOB = "report_worst_routes"
TABLE = "reporting.reports.worst_routes"
PAGE = "/var/lib/lake/reporting/html/worst_routes.html"
METADATA = """query Metadata($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetMaterializations(limit: 1) { metadataEntries { label
    ... on PathMetadataEntry { path } ... on MarkdownMetadataEntry { mdStr } ... on IntMetadataEntry { intValue }
    ... on TableColumnLineageMetadataEntry { lineage { columnName } } } } } } }"""
# In every place that a report shows: texts of the file, names of columns, values. Each would be noticed by the browser.
HOSTILE = """<script>document.title='taken'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>"'</title></svg>"""
MAKE_HOSTILE = """
from datetime import UTC, datetime
import pandas
from platform_kit.components import charts, page
from platform_kit.components.fields import Report

text = {text!r}
axis = {{"column": text, "title": text, "unit": text}}
both = {{"title": text, "description": text, "x": axis, "y": {{**axis, "column": "n"}}}}
report = Report.model_validate({{
    "title": text, "description": text, "owners": ["team:x"], "sql": "SELECT * FROM ingestion.raw.flights -- " + text,
    "columns": {{text: text}},
    "charts": [{{**both, "kind": kind, "colour": {{**axis, "column": "n" if kind == "heat-map" else text}}}}
               for kind in ("bar", "line", "heat-map", "scatter")],
}})
frame = pandas.DataFrame({{text: [text, "x"], "n": [1, 2]}})
contents = page.Contents(
    made=datetime.now(UTC), place=text, table=text, sources=[text], columns=[text, "n"],
    rows=frame.values.tolist(), row_count=2, charts=[charts.svg(chart, frame) for chart in report.charts],
    outcomes=[page.Outcome(text, False, text)],
)
print(page.render(report, contents))
"""
WRONG = """type: platform_kit.components.SqlReport
attributes:
  title: Flights
  description: How many there are.
  owners: [team:analysts]
  sql: SELECT count(*) AS flights FROM ingestion.raw.flights
  charst: []
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The distribution's chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "found no chromium, expected the distribution's package: apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


class Opened:
    """A page opened from a file, and all that the browser did for it."""

    def __init__(self, browser: Browser, file: Path, scheme: Any = "light") -> None:
        self.context = browser.new_context(color_scheme=scheme, viewport={"width": 1000, "height": 940})
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.noticed: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: (self.noticed.append(dialog.message), dialog.dismiss()))
        self.page.on("pageerror", lambda error: self.noticed.append(str(error)))
        self.page.on("console", lambda message: self.noticed.append(message.text))
        self.page.goto(file.as_uri(), wait_until="networkidle")


@pytest.fixture(scope="module")
def report(deployment: Deployment, admin: GraphQL, marts: str) -> str:
    """The run that made the report."""
    run = admin.launch("reporting", JOB)
    admin.wait_for(run, "SUCCESS")
    return run


def test_its_rows_are_those_of_the_same_question_to_the_source(deployment: Deployment, report: str) -> None:
    for table in ("flights", "airports"):
        source_table(table)
    by_hand = """
        SELECT origin || ' – ' || coalesce(name, dest) AS route, origin, min(distance) AS distance, count(*) AS flights,
               round(100.0 * sum(CASE WHEN arr_delay > 15 THEN 1 ELSE 0 END) / count(*), 1) AS late_percent
        FROM flights LEFT JOIN airports ON faa = dest GROUP BY route, origin, dest HAVING count(*) >= 52
        ORDER BY late_percent DESC, route LIMIT 20"""
    expected = duckdb.sql(by_hand).fetchall()
    found = lake_rows(deployment, "reporting", f"SELECT * EXCLUDE average_delay FROM {TABLE}")
    assert sorted(tuple(row.values()) for row in found) == sorted(expected)


def test_the_ui_leads_to_the_page_and_shows_its_first_chart(admin: GraphQL, report: str) -> None:
    asked = admin.ask(METADATA, key={"path": ["reporting", "reports", "worst_routes"]})
    (event,) = asked["assetNodeOrError"]["assetMaterializations"]
    entries = {entry["label"]: entry for entry in event["metadataEntries"]}
    assert entries["report/page"]["path"] == PAGE
    assert entries["dagster/row_count"]["intValue"] == 20
    assert entries["report/chart"]["mdStr"].startswith("![chart](data:image/svg+xml;base64,")
    assert {line["columnName"] for line in entries["dagster/column_lineage"]["lineage"]} >= {"route", "late_percent"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_its_charts_and_asks_nobody_for_anything(
    deployment: Deployment, report: str, browser: Browser, tmp_path: Path, scheme: str
) -> None:
    file = tmp_path / "worst_routes.html"
    file.write_text(docker("exec", deployment.container("reporting"), "cat", PAGE))
    opened = Opened(browser, file, scheme)
    assert opened.requests == [file.as_uri()]
    assert opened.noticed == []
    assert opened.page.title() == "The worst routes"
    bars = opened.page.locator("figure").first.locator("[aria-roledescription=bar]")
    assert bars.count() == 20
    assert bars.first.is_visible()
    box = bars.first.bounding_box()
    assert box is not None
    assert box["width"] > 100, "it is drawn, the worst route first"
    assert opened.page.get_by_role("img", name="A bar a route, the worst first").is_visible()
    assert opened.page.locator("tbody tr").count() == 20
    assert opened.page.get_by_text("All 3 checks passed.").is_visible()
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    opened.page.screenshot(path=ARTIFACTS / f"report-{scheme}.png")
    opened.context.close()


def test_hostile_texts_names_and_values_stay_text_in_a_browser(
    deployment: Deployment, browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "hostile.html"
    # Not by the entry point, which redacts what is printed.
    make = MAKE_HOSTILE.format(text=HOSTILE)
    file.write_text(docker("exec", "-i", deployment.container("reporting"), "python", "-", stdin=make))
    opened = Opened(browser, file)
    assert opened.requests == [file.as_uri()]
    assert opened.noticed == []
    assert opened.page.title() == HOSTILE
    assert opened.page.locator("svg").count() == 4
    assert opened.page.locator("script, img, iframe, object, a, form").count() == 0
    assert HOSTILE in opened.page.locator("tbody").inner_text()
    opened.context.close()


def test_a_check_of_the_yaml_that_fails_is_shown_as_failed(deployment: Deployment, admin: GraphQL, report: str) -> None:
    """A route from an airport that nobody has heard of: the report accepts three."""
    lake = (
        "from platform_kit.lake import LakeResource\nwith LakeResource().connect() as lake:\n    lake.execute({sql!r})"
    )
    route = "'XXX', 'LAX', 100, 1000, 999"
    columns = "origin_airport, destination_airport, distance_miles, flights, delayed_arrivals"
    mart = "analytics.marts.delays_by_route"
    deployment.python("analytics", lake.format(sql=f"INSERT INTO {mart} ({columns}) VALUES ({route})"))
    try:
        run = admin.launch("reporting", JOB)
        admin.wait_for(run, "SUCCESS")  # the check only warns
        page = docker("exec", deployment.container("reporting"), "cat", PAGE)
    finally:
        deployment.python("analytics", lake.format(sql=f"DELETE FROM {mart} WHERE origin_airport = 'XXX'"))
        admin.wait_for(admin.launch("reporting", JOB), "SUCCESS")
    outcomes = {
        event["evaluation"]["checkName"]: event["evaluation"]["success"]
        for event in admin.events(run)
        if event["__typename"] == "AssetCheckEvaluationEvent"
    }
    assert outcomes == {"row_count": True, "unique_route": True, "accepted_values_origin": False}
    assert "1 of 3 checks failed" in page
    assert "origin is one of EWR, JFK, LGA (warn)" in page


def test_a_wrong_file_is_refused_before_it_is_deployed(deployment: Deployment, tmp_path: Path) -> None:
    """As ./stack check loads the definitions, in the location's image; the last lines are what it shows."""
    (tmp_path / "defs.yaml").write_text(WRONG)
    tmp_path.chmod(0o755)  # the image's user reads it
    image = deployment.inspect(deployment.container("reporting"))["Config"]["Image"]
    printed = docker(
        *("run", "--rm", "--interactive", "--network", "none", "--entrypoint", "env"),
        *("--volume", f"{tmp_path}:/app/src/reporting/defs/wrong:ro", "--env", "DEPLOYMENT=prod", image),
        *("sh", "-c", "python - 2>&1 || echo refused"),
        stdin=(INSIDE / "graph.py").read_text(),
    )
    assert printed.endswith("refused\n")
    shown = _reason(printed)
    assert "defs/wrong/defs.yaml:7" in shown
    assert "unknown field 'charst', expected one of title, description, owners, sql" in shown
    assert "did you mean 'charts'?" in shown
