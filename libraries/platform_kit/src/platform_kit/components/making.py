"""Making a report: its rows into the table, its checks, its page."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import AssetCheckResult, AssetExecutionContext, AssetKey, MaterializeResult, MetadataValue

from platform_kit.components import charts, page
from platform_kit.components.expectations import evaluate
from platform_kit.components.fields import Report
from platform_kit.components.lineage import column_lineage
from platform_kit.components.statements import Statement, Table, parse
from platform_kit.environment import Environment
from platform_kit.lake import LakeError, LakeResource, metadata
from platform_kit.lake.frames import INCOMING, columns_of, register, to_polars
from platform_kit.lake.tables import TableName, Written

if TYPE_CHECKING:
    import polars
    from duckdb import DuckDBPyConnection

FOLDER = "html"
_NOT_ATTACHED = re.compile(r'Catalog "(\w+)" does not exist')


class ReportError(Exception):
    """A report cannot be made; the message says what was found and what to do."""


@dataclass(frozen=True)
class _Making:
    """One report being made: whose, where, and on which connection."""

    report: Report
    key: AssetKey
    lake: LakeResource
    connection: "DuckDBPyConnection"

    @property
    def place(self) -> Environment:
        return self.lake.environment

    @property
    def table(self) -> TableName:
        return self.lake.table(self.key)


def make(report: Report, context: AssetExecutionContext) -> MaterializeResult[Any]:
    """Ask the SQL, replace the table, ask the checks, write the page; the result tells it all to Dagster."""
    key = context.asset_key
    lake = LakeResource(code_location=key.path[0])
    statement = report.statement
    with ExitStack() as lakes:
        connection = lakes.enter_context(_connected(lake, _lakes(report, key)))
        making = _Making(report, key, lake, connection)
        sources = {table: _columns(making, table, lakes) for table in statement.tables}
        with _ended_after(connection, report.timeout_seconds):
            frame = to_polars(connection.sql(statement.placed(making.place)))
            _refuse_unknown_columns(report, frame.columns)
        written = _written(making, frame, context)
        with _ended_after(connection, report.timeout_seconds):
            results = [evaluate(check, connection, making.table.sql, making.place, key) for check in report.checks]
        drawn = _Drawn.of(making, frame)
        path = _page(making, frame, results, drawn, statement)
    entries = {
        **metadata.of_every_partition(making.table, written),
        **metadata.of_table(written, frame, context.assets_def.metadata_by_key[key]),
        "dagster/column_lineage": column_lineage(statement, frame.columns, sources),
        "report/page": MetadataValue.path(str(path)),
        **drawn.metadata,
    }
    return MaterializeResult(asset_key=key, metadata=entries, check_results=results)


def _lakes(report: Report, key: AssetKey) -> list[str]:
    """Other lakes that the report or its checks read."""
    statements = [report.statement, *(parse(check.sql) for check in report.checks if check.sql)]
    return sorted({table.catalog for statement in statements for table in statement.tables} - {key.path[0]})


@contextmanager
def _connected(lake: LakeResource, reads: list[str]) -> Iterator["DuckDBPyConnection"]:
    import duckdb

    with ExitStack() as stack:
        try:
            connection = stack.enter_context(lake.connect(reads))
        except (LakeError, duckdb.Error) as error:
            own = lake.environment.code_location
            raise ReportError(
                f"{own} cannot read the lake {' or '.join(reads)}: correct its name, or let the platform team add it "
                f"to machines: {own}: reads in access.yaml and mount it. DuckDB says: {error}"
            ) from error
        yield connection


def _columns(making: _Making, table: Table, lakes: ExitStack) -> list[str]:
    """The columns of a table that the SQL reads. Raises ReportError where it is not there.

    A view may read lakes that the SQL does not name: they are attached too, and stay so in `lakes`.
    """
    import duckdb

    here = TableName.of_key(table.path, making.place)
    try:
        return list(columns_of(making.connection, here.sql))
    except duckdb.CatalogException:
        raise ReportError(
            f"found no table {here}: correct its name, or materialise the asset {'/'.join(table.path)} first"
        ) from None
    except duckdb.BinderException as error:
        behind = _NOT_ATTACHED.search(str(error))
        if not behind:
            raise
        lakes.enter_context(_connected(making.lake, [behind.group(1)]))
        return _columns(making, table, lakes)


@contextmanager
def _ended_after(connection: "DuckDBPyConnection", seconds: int) -> Iterator[None]:
    """DuckDB has no time-out of its own: interrupt what runs on the connection after so many seconds."""
    import duckdb

    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    except duckdb.InterruptException:
        raise ReportError(
            f"the SQL took more than {seconds} seconds and was ended: let it read less, or raise timeout_seconds"
        ) from None
    finally:
        timer.cancel()


def _refuse_unknown_columns(report: Report, given: list[str]) -> None:
    """Behind a `*` the columns are known only now."""
    findings = report.columns_not_in(given)
    if findings:
        raise ReportError("; ".join(f"{'.'.join(map(str, place))}: {message}" for place, _, message in findings))


def _written(making: _Making, frame: "polars.DataFrame", context: AssetExecutionContext) -> Written:
    import duckdb

    register(making.connection, frame)
    try:
        present = columns_of(making.connection, making.table.sql)
    except duckdb.CatalogException:
        present = {}
    incoming = columns_of(making.connection, INCOMING)
    making.connection.unregister(INCOMING)
    if present and present != incoming:
        # A report is all derived: when its SQL gives other columns, the table is made anew, which others may not do.
        context.log.warning(f"{making.table} had {present}, the SQL gives {incoming}: the table is made anew")
        making.connection.execute(f"DROP TABLE {making.table.sql}")
    return making.lake.replace(making.key, frame)


@dataclass(frozen=True)
class _Drawn:
    """The charts, for the page; the first of them also for Dagster's own pages."""

    elements: list[str]
    metadata: dict[str, Any]

    @classmethod
    def of(cls, making: _Making, frame: "polars.DataFrame") -> "_Drawn":
        if not making.report.charts:
            return cls([], {})
        register(making.connection, frame.head(charts.MAX_POINTS))
        rows = making.connection.sql(f"FROM {INCOMING}").df()
        making.connection.unregister(INCOMING)
        first = making.report.charts[0]
        shown = MetadataValue.md(f"![chart]({charts.picture(first, rows)})\n\n{_harmless(first.description)}")
        return cls([charts.svg(chart, rows) for chart in making.report.charts], {"report/chart": shown})


def _harmless(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()<>#+-.!|&" else letter for letter in text)


def _page(
    making: _Making, frame: "polars.DataFrame", results: list[AssetCheckResult], drawn: _Drawn, statement: Statement
) -> Path:
    contents = page.Contents(
        made=datetime.now(UTC),
        place=making.place.name,
        table=str(making.table),
        sources=[str(table) for table in statement.tables],
        columns=frame.columns,
        rows=frame.head(making.report.rows_on_page).rows(),
        row_count=frame.height,
        charts=drawn.elements,
        outcomes=[
            page.Outcome(str(result.description), result.passed, check.severity)
            for check, result in zip(making.report.checks, results, strict=True)
        ],
    )
    path = making.place.lake_data_path() / FOLDER / f"{making.key.path[-1]}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whoever reads it while it is made has the old page or the new one.
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(page.render(making.report, contents), encoding="utf-8")
    unfinished.replace(path)
    return path
