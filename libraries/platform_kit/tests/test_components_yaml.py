"""A report is one `defs.yaml`: what it becomes, and how a wrong one is refused."""

import re
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import dagster as dg
import pytest
from pydantic import ValidationError

from platform_kit.components import SqlReport
from platform_kit.components.sql_report import SqlReportScaffolder

GOOD = """\
type: platform_kit.components.SqlReport
attributes:
  title: Flights of each carrier
  description: How many flights each carrier had.
  owners: [team:analysts]
  sql: |
    SELECT carrier, count(*) AS flights
    FROM ingestion.raw.flights
    JOIN eta.model.evaluation USING (carrier)
    GROUP BY carrier
  columns:
    carrier: Code of the carrier.
  charts:
    - kind: bar
      title: Flights
      description: Bars.
      x: {column: flights, title: Flights}
      y: {column: carrier, title: Carrier}
  checks:
    - {kind: row_count, min: 1, blocking: true}
    - kind: not_null
      columns: [carrier]
  alerts:
    - {when: failure, to: [analysts@example.com]}
    - {when: check_failed, to: [webhook]}
"""
_numbers = count()

Load = Callable[..., dg.Definitions]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Definitions of a project whose folder `defs/` has these reports."""
    package = f"project_{next(_numbers)}"
    defs = tmp_path / "src" / package / "defs"
    defs.mkdir(parents=True)
    for module in (defs.parent, defs):
        (module / "__init__.py").touch()
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "{package}"\n'
    )
    monkeypatch.syspath_prepend(tmp_path / "src")
    monkeypatch.setenv("CODE_LOCATION", "reporting")

    def definitions(**reports: str) -> dg.Definitions:
        for name, text in reports.items():
            (defs / name).mkdir(exist_ok=True)
            (defs / name / "defs.yaml").write_text(text)
        return dg.load_from_defs_folder(path_within_project=defs)

    yield definitions
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def spec_of(definitions: dg.Definitions, name: str) -> dg.AssetSpec:
    (spec,) = [spec for spec in definitions.resolve_all_asset_specs() if spec.key.path[-1] == name]
    return spec


def test_one_file_is_a_report_under_its_folder_s_name(load: Load) -> None:
    found = load(by_carrier=GOOD, again=GOOD)
    spec = spec_of(found, "by_carrier")
    assert spec.key.path == ["reporting", "reports", "by_carrier"]
    assert spec.group_name == "reports"
    assert spec.owners == ["team:analysts"]
    assert spec.description == "Flights of each carrier. How many flights each carrier had."
    assert spec.kinds == {"sql", "ducklake", "html"}
    assert {job.name for job in found.jobs or ()} == {"report_by_carrier", "report_again"}


def test_what_it_reads_is_upstream_without_being_said_twice(load: Load) -> None:
    spec = spec_of(load(by_carrier=GOOD), "by_carrier")
    assert sorted(dep.asset_key.to_user_string() for dep in spec.deps) == [
        "eta/model/evaluation",
        "ingestion/raw/flights",
    ]


def test_alerts_are_said_on_the_asset_and_on_the_runs_of_its_job(load: Load) -> None:
    from platform_kit.alerts import from_metadata, from_run_tags

    found = load(by_carrier=GOOD)
    assert [policy.when for policy in from_metadata(spec_of(found, "by_carrier").metadata)] == [
        "failure",
        "check_failed",
    ]
    tags = found.resolve_job_def("report_by_carrier").tags
    assert from_run_tags(tags)[0].to == ["analysts@example.com"]


def test_checks_are_the_asset_s_own(load: Load) -> None:
    graph = load(by_carrier=GOOD).resolve_asset_graph()
    specs = {key.name: graph.get_check_spec(key) for key in graph.asset_check_keys}
    assert specs.keys() == {"row_count", "not_null_carrier"}
    assert specs["row_count"].blocking
    assert specs["row_count"].description == "at least 1 rows"
    assert not specs["not_null_carrier"].blocking


@pytest.mark.parametrize(("deployment", "status"), [("prod", "RUNNING"), ("branch-7", "STOPPED"), ("", "STOPPED")])
def test_the_clock_runs_in_production_only(
    load: Load, monkeypatch: pytest.MonkeyPatch, deployment: str, status: str
) -> None:
    monkeypatch.setenv("DEPLOYMENT", deployment)
    found = load(by_carrier=GOOD + '  schedule: {cron: "0 7 * * 1-5", timezone: Europe/Berlin}\n')
    (schedule,) = found.schedules or ()
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 7 * * 1-5", "Europe/Berlin")
    assert schedule.job_name == "report_by_carrier"
    assert schedule.default_status.value == status


def test_the_clock_waits_for_sources_that_were_never_made(load: Load, tmp_path: Path) -> None:
    (schedule,) = load(by_carrier=GOOD + '  schedule: {cron: "0 7 * * *"}\n').schedules or ()
    assert isinstance(schedule, dg.ScheduleDefinition)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        context = dg.build_schedule_context(instance=instance)
        for source in ("eta/model/evaluation", "ingestion/raw/flights"):
            assert source in str(schedule.evaluate_tick(context).skip_message)
            instance.report_runless_asset_event(dg.AssetMaterialization(source.split("/")))
        assert schedule.evaluate_tick(context).run_requests


def test_after_its_sources_is_dagster_s_own_condition(load: Load) -> None:
    found = load(by_carrier=GOOD + "  schedule: {after_sources: true}\n", again=GOOD)
    assert spec_of(found, "by_carrier").automation_condition == dg.AutomationCondition.eager()
    assert spec_of(found, "again").automation_condition is None
    assert not found.schedules


WRONG = [
    # what is changed, into what, the line of the finding, and what it says
    ("title: Flights of each", "titel: Flights of each", 3, "unknown field 'titel', expected one of title, desc"),
    ("title: Flights of each", "titel: Flights of each", 3, "did you mean 'title'?"),
    ("  title: Flights of each carrier\n", "", 2, "Field required"),
    ("description: How many flights each carrier had.", "description: ''", 4, "found nothing, expected a text"),
    ("[team:analysts]", "[analysts]", 5, "expected team:<name> or an e-mail address"),
    ("[team:analysts]", "[]", 5, "at least 1 item"),
    ("FROM ingestion.raw.flights", "FROM read_csv('/etc/passwd')", 6, "a report reads no files"),
    ("SELECT carrier, count(*) AS flights\n", "DROP TABLE flights; SELECT 1\n", 6, "expected one SELECT"),
    ("GROUP BY carrier", "GROUP BY (", 6, "line 4 of the SQL"),
    ("carrier: Code", "carier: Code", 12, "no column of the report: expected one of carrier, flights"),
    ("kind: bar", "kind: pie", 14, "'bar', 'line', 'heat-map' or 'scatter'"),
    ("kind: bar", "kind: heat-map", 14, "a heat-map needs colour"),
    ("column: flights, title: Flights", "column: flight, title: Flights", 17, "expected one of carrier, flights"),
    ("column: flights, title: Flights", "column: flights, label: x", 17, "expected one of column, title, unit"),
    ("kind: row_count, min: 1,", "kind: row_count, min: one,", 20, "valid integer"),
    ("kind: row_count, min: 1,", "kind: row_count,", 20, "row_count needs min, max or both"),
    ("kind: row_count, min: 1,", "kind: row_count, min: 2, max: 1,", 20, "min not above max"),
    ("columns: [carrier]", "colums: [carrier]", 22, "did you mean 'columns'?"),
    ("columns: [carrier]", "columns: [carier]", 21, "no column of the report: expected one of carrier"),
    ("columns: [carrier]", "values: [AA]", 22, "found values for kind not_null, which takes columns"),
    ("kind: not_null", "kind: no_rows", 22, "found columns for kind no_rows, which takes name, sql"),
    ("kind: not_null", "kind: no_rows", 21, "kind no_rows needs sql"),
    ("kind: not_null\n      columns: [carrier]", "{kind: row_count, max: 9}", 21, "called 'row_count' too"),
    ("to: [analysts@example.com]", "to: [analysts]", 24, "expected an e-mail address, or 'webhook'"),
    ("when: failure,", "when: failed,", 24, "'failure', 'check_failed' or 'late'"),
    ("when: failure,", "when: late,", 24, "after_hours"),
    ("when: failure,", "when: failure, who: x,", 24, "expected one of when, to, after_hours"),
    ("kind: row_count, min: 1,", "kind: row_count, min: 1, name: A check,", 20, "match pattern"),
    ("  alerts:", "  group: Flights of 2013\n  alerts:", 23, "match pattern"),
    ("  alerts:", "  schedule: {cron: every day}\n  alerts:", 23, "expected five fields"),
    ("  alerts:", "  schedule: {cron: 0 7 * * *, timezone: Berlin}\n  alerts:", 23, "such as UTC or Europe/Berlin"),
    ("  alerts:", "  schedule: {timezone: UTC}\n  alerts:", 23, "expected one of them"),
    ("  alerts:", "  rows_on_page: 100000\n  alerts:", 23, "less than or equal to 5000"),
]


@pytest.mark.parametrize(("before", "after", "line", "said"), WRONG)
def test_a_wrong_file_is_refused_with_its_line_and_what_is_legal(
    load: Load, before: str, after: str, line: int, said: str
) -> None:
    assert GOOD.count(before) == 1
    with pytest.raises(Exception, match="Error while loading component") as raised:
        load(by_carrier=GOOD.replace(before, after))
    cause = raised.value.__cause__
    assert isinstance(cause, ValidationError)
    places = re.findall(r"^(.*by_carrier/defs\.yaml:\d+.*)\n(.*)", str(cause), re.MULTILINE)
    assert any(f"defs.yaml:{line}" in place and said in message for place, message in places), str(cause)


def test_several_findings_are_told_at_once(load: Load) -> None:
    text = (
        GOOD.replace("kind: bar", "kind: pie")
        .replace("[team:analysts]", "[x]")
        .replace("title: Flights of", "titel: Flights of")
    )
    with pytest.raises(Exception, match="Error while loading component") as raised:
        load(by_carrier=text)
    assert re.findall(r"defs\.yaml:(\d+)", str(raised.value.__cause__)) == ["3", "2", "5", "14"]


def test_a_file_without_attributes_is_told_which_there_are(load: Load) -> None:
    with pytest.raises(Exception, match="Error while loading component") as raised:
        load(by_carrier="type: platform_kit.components.SqlReport\n")
    assert "has no attributes: expected title, description" in str(raised.value.__cause__)


def test_a_report_on_itself_is_refused(load: Load) -> None:
    with pytest.raises(Exception, match="Error while building definitions") as raised:
        load(by_carrier=GOOD.replace("eta.model.evaluation", "reporting.reports.by_carrier"))
    assert "reads the table that the report makes" in str(raised.value.__cause__)


def test_a_report_on_another_report_is_downstream_of_it(load: Load) -> None:
    found = load(by_carrier=GOOD, again=GOOD.replace("eta.model.evaluation", "reporting.reports.by_carrier"))
    assert "reporting/reports/by_carrier" in {dep.asset_key.to_user_string() for dep in spec_of(found, "again").deps}


def test_a_folder_that_cannot_be_a_table_is_refused(load: Load) -> None:
    with pytest.raises(Exception, match="Error while building definitions") as raised:
        load(**{"By Carrier": GOOD})
    assert "rename it" in str(raised.value.__cause__)


def test_a_scaffolded_report_loads_as_it_is(load: Load, tmp_path: Path) -> None:
    target = tmp_path / "new_report"
    SqlReportScaffolder().scaffold(
        dg.ScaffoldRequest(
            type_name="platform_kit.components.SqlReport",
            target_path=target,
            scaffold_format="yaml",
            project_root=tmp_path,
            params=None,
        )
    )
    found = load(new_report=(target / "defs.yaml").read_text())
    assert spec_of(found, "new_report").key.path == ["reporting", "reports", "new_report"]


def test_editors_are_told_every_field() -> None:
    model = SqlReport.get_model_cls()
    assert model is not None
    schema = model.model_json_schema()
    assert {"title", "description", "owners", "sql"} == set(schema["required"])
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Chart"]["properties"]["kind"]["enum"] == ["bar", "line", "heat-map", "scatter"]
