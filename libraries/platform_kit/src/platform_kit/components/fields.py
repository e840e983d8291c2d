"""What a report's `defs.yaml` may say."""

from collections.abc import Sequence
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from platform_kit.alerts import AlertPolicy
from platform_kit.components.expectations import Check
from platform_kit.components.legal import NAME, Fields, Finding, Name, Place, Sql, Text, only_known, owner, refusal
from platform_kit.components.statements import Statement, parse


class Axis(Fields):
    """One axis of a chart, or its colour."""

    column: str = Field(description="A column of the report.")
    title: Text = Field(description="What it shows, for people.")
    unit: str | None = Field(None, description="Of the figures: minutes, miles, %.")


class Chart(Fields):
    """A chart above the table."""

    kind: Literal["bar", "line", "heat-map", "scatter"]
    title: Text
    description: Text = Field(description="What there is to see, for people who cannot see it.")
    x: Axis
    y: Axis
    colour: Axis | None = Field(None, description="The column that colours; a heat-map needs it.")

    @model_validator(mode="after")
    def _heat_is_coloured(self) -> "Chart":
        if self.kind == "heat-map" and self.colour is None:
            raise ValueError("a heat-map needs colour: {column, title}, the figure that its fields show")
        return self

    @property
    def axes(self) -> dict[str, Axis]:
        """By the names of the fields."""
        named = {"x": self.x, "y": self.y, "colour": self.colour}
        return {name: axis for name, axis in named.items() if axis}


class Schedule(Fields):
    """When the report is made: by the clock, or after its sources."""

    cron: str | None = Field(None, description="Minute, hour, day of the month, month, day of the week: 0 7 * * 1-5")
    timezone: str = Field("UTC", description="Of cron: Europe/Berlin")
    after_sources: bool = Field(False, description="Whenever a table that it reads is new, and none is being made.")

    @model_validator(mode="after")
    def _one_of_both(self) -> "Schedule":
        from dagster._utils.schedules import is_valid_cron_string

        if bool(self.cron) == self.after_sources:
            raise ValueError("found both or none of cron and after_sources, expected one of them")
        if self.cron and not is_valid_cron_string(self.cron):
            message = f"found {self.cron!r}, expected five fields: minute, hour, day, month, day of the week"
            raise refusal("Schedule", [(("cron",), self.cron, message)])
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError):  # not found, no name at all, a folder
            message = f"found {self.timezone!r}, expected a name such as UTC or Europe/Berlin"
            raise refusal("Schedule", [(("timezone",), self.timezone, message)]) from None
        return self


class Report(Fields):
    """A SQL report on the lakes: a table, and a page with charts that opens without a network."""

    title: Text
    description: Text = Field(description="What it answers, and for whom.")
    owners: Annotated[list[Annotated[str, AfterValidator(owner)]], Field(min_length=1)]
    sql: Sql = Field(description="One SELECT on tables of lakes, written <lake>.<schema>.<table>.")
    group: Name = "reports"
    tags: dict[str, str] = Field(default_factory=dict)
    columns: dict[str, Text] = Field(default_factory=dict, description="What each column means.")
    charts: list[Chart] = Field(default_factory=list)
    checks: list[Check] = Field(default_factory=list)
    schedule: Schedule | None = None
    alerts: list[Annotated[AlertPolicy, BeforeValidator(lambda value: only_known(AlertPolicy, value))]] = Field(
        default_factory=list
    )
    rows_on_page: Annotated[int, Field(ge=1, le=5000)] = Field(
        200, description="The table holds all, the page so many."
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        120, description="A query that takes longer is ended."
    )

    @property
    def statement(self) -> Statement:
        """The SQL, understood."""
        return parse(self.sql)

    @model_validator(mode="after")
    def _fits_together(self) -> "Report":
        given = self.statement.columns
        # None behind a `*`: then they are known when the report is made.
        findings = [*(self.columns_not_in(given) if given is not None else ()), *self._names_used_twice()]
        if findings:
            raise refusal("Report", findings)
        return self

    def columns_not_in(self, given: Sequence[str]) -> list[Finding]:
        """What the file says of columns that the report does not have."""
        used: list[tuple[Place, str]] = [(("columns", name), name) for name in self.columns]
        for index, chart in enumerate(self.charts):
            used += [(("charts", index, name, "column"), axis.column) for name, axis in chart.axes.items()]
        for index, check in enumerate(self.checks):
            used += [(("checks", index), name) for name in check.used_columns]
        return [(place, name, _not_a_column(name, given)) for place, name in used if name not in given]

    def _names_used_twice(self) -> list[Finding]:
        names = [check.check_name for check in self.checks]
        return [
            (("checks", index), name, f"a check above is called {name!r} too: give this one another name")
            for index, name in enumerate(names)
            if name in names[:index]
        ]


def _not_a_column(name: str, given: Sequence[str]) -> str:
    return f"found {name!r}, which is no column of the report: expected one of {', '.join(given)}"


def report_name(folder: str) -> str:
    """The folder's name as the report's. Raises ValueError where it cannot be a table's."""
    if not NAME.fullmatch(folder):
        raise ValueError(f"the folder {folder!r} cannot be a table's name: expected {NAME.pattern}; rename it")
    return folder
