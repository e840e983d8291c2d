"""The component `SqlReport`: one `defs.yaml` becomes an asset with its checks, its job and its schedule."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import BaseModel

from platform_kit import environment
from platform_kit.alerts import as_metadata, as_run_tags
from platform_kit.components.fields import Report, report_name

SCHEMA = "reports"

TEMPLATE = """\
# What each field means: dg utils inspect-component {type}, or docs/locations/reporting.md.
type: {type}
attributes:
  title: Flights of each carrier
  description: How many flights each carrier had.
  owners: [team:analysts]
  sql: |
    SELECT carrier, count(*) AS flights
    FROM ingestion.raw.flights
    GROUP BY carrier
    ORDER BY flights DESC
  columns:
    carrier: Code of the carrier.
    flights: Scheduled flights.
  charts:
    - kind: bar
      title: Flights of each carrier
      description: Bars, the longest first.
      x: {{column: flights, title: Flights}}
      y: {{column: carrier, title: Carrier}}
  checks:
    - {{kind: row_count, min: 1}}
    - {{kind: unique, columns: [carrier]}}
  schedule: {{after_sources: true}}
"""


class SqlReportScaffolder(dg.Scaffolder[Any]):
    """A report that works on the sample data, to be changed."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write `defs.yaml`."""
        report_name(request.target_path.name)
        request.target_path.mkdir(parents=True, exist_ok=True)
        text = TEMPLATE.format(type=request.type_name)
        (request.target_path / "defs.yaml").write_text(text, encoding="utf-8")


@dg.scaffold_with(SqlReportScaffolder)
@dataclass
class SqlReport(dg.Component):
    """A SQL report on the lakes: a table, and a page with charts that opens without a network.

    The folder's name is the report's: its table is `<location>.reports.<name>`, its page
    `html/<name>.html` beside the lake's files. What it reads is taken from the SQL.
    """

    report: Report

    @classmethod
    def get_model_cls(cls) -> type[BaseModel] | None:
        """The fields of `attributes`, also for dg check yaml and editors."""
        return Report

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "SqlReport":
        """From what stands in the file; its fields are checked already, at their lines."""
        if not isinstance(attributes, Report):
            raise dg.DagsterInvalidDefinitionError(
                f"{context.path}/defs.yaml has no attributes: expected {', '.join(Report.model_fields)}"
            )
        return cls(attributes)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The asset, its job, and its schedule by the clock."""
        name = report_name(context.path.name)
        # In an image the environment says which location this is; elsewhere the package's name does.
        package = context.defs_module_name.partition(".")[0]
        place = environment.current(environment.setting("CODE_LOCATION", package))
        if [place.code_location, SCHEMA, name] in [table.path for table in self.report.statement.tables]:
            raise dg.DagsterInvalidDefinitionError(
                f"{context.path}/defs.yaml: the SQL reads the table that the report makes; read its sources instead"
            )
        asset = self._asset(name, place.code_location)
        job = dg.define_asset_job(
            f"report_{name}",
            selection=dg.AssetSelection.assets(asset),
            description=f"Makes the report {self.report.title!r}.",
            tags=as_run_tags(self.report.alerts),
        )
        return dg.Definitions(
            assets=[asset], jobs=[job], schedules=list(self._schedules(job.name, place.is_production))
        )

    def _schedules(self, job: str, production: bool) -> Iterator[dg.ScheduleDefinition]:
        schedule = self.report.schedule
        if not schedule or not schedule.cron:
            return
        status = dg.DefaultScheduleStatus
        sources = [dg.AssetKey(table.path) for table in self.report.statement.tables]

        @dg.schedule(
            name=f"{job}_by_the_clock",
            job_name=job,
            cron_schedule=schedule.cron,
            execution_timezone=schedule.timezone,
            # Who writes a schedule wants it to run; outside production nobody reads what it would make.
            default_status=status.RUNNING if production else status.STOPPED,
        )
        def by_the_clock(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
            events = context.instance.get_latest_materialization_events(sources)
            missing = ", ".join(key.to_user_string() for key in sources if not events.get(key))
            # A deployment that is new, or waits for its first load, shall not fail each morning.
            return dg.SkipReason(f"never materialised yet: {missing}") if missing else dg.RunRequest()

        yield by_the_clock

    def _asset(self, name: str, location: str) -> dg.AssetsDefinition:
        report = self.report
        key = dg.AssetKey([location, SCHEMA, name])
        after_sources = report.schedule is not None and report.schedule.after_sources

        @dg.asset(
            key=key,
            deps=[dg.AssetKey(table.path) for table in report.statement.tables],
            group_name=report.group,
            owners=report.owners,
            description=f"{report.title}. {report.description}",
            kinds={"sql", "ducklake", "html"},
            tags=report.tags,
            metadata=self._metadata(),
            check_specs=self._check_specs(key),
            automation_condition=dg.AutomationCondition.eager() if after_sources else None,
        )
        def made(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
            from platform_kit.components.making import (
                make,
            )  # what it imports takes a second, here and not at each start

            yield make(report, context)

        return made

    def _metadata(self) -> Mapping[str, Any]:
        columns = [dg.TableColumn(name, description=text) for name, text in self.report.columns.items()]
        described = {"dagster/column_schema": dg.TableSchema(columns)} if columns else {}
        return {**described, **as_metadata(self.report.alerts), "report/sql": dg.MetadataValue.md(_fenced(self.report))}

    def _check_specs(self, key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
        return [
            dg.AssetCheckSpec(
                check.check_name,
                asset=key,
                description=check.description or check.sentence,
                blocking=check.blocking,
                metadata=as_metadata([policy for policy in self.report.alerts if policy.when == "check_failed"]),
            )
            for check in self.report.checks
        ]


def _fenced(report: Report) -> str:
    # Four spaces make a block of code that no backtick in the SQL can end.
    return "\n".join(f"    {line}" for line in report.sql.splitlines())
