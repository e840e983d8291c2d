"""Promise: the cost report adds up to what the event log says, whoever wrote there."""

import math
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.plan import execute_step
from platform_location.defs.costs import assets, events
from platform_location.defs.costs.report import page
from sqlalchemy import text

from platform_kit.lake import LakeIOManager, LakeResource

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
FIGURES: dict[str, Any] = {
    "cost/cpu_seconds": 2.5,
    "cost/wall_seconds": 4.0,
    "cost/peak_memory_bytes": 2**28,
    "cost/amount": 0.00002,
    "cost/currency": "USD",
    "cost/team": "data-engineers",
}


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of these tests are their own, also where another one has loaded this location's definitions."""
    made = execute_step._get_output_asset_events
    monkeypatch.setattr(execute_step, "_get_output_asset_events", getattr(made, "__wrapped__", made))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The lake in a file."""
    for name in ("DEPLOYMENT", "POSTGRES_HOST", "POSTGRES_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DEVELOPER", "ada")
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path))


def materialise(instance: dg.DagsterInstance, partition: str | None = None, **figures: Any) -> str:
    """A run of location ingestion that makes flights, with these figures."""

    @dg.asset(key=["ingestion", "raw", "flights"])
    def flights() -> dg.MaterializeResult[None]:
        metadata = {**FIGURES, **{f"cost/{name}": value for name, value in figures.items()}}
        return dg.MaterializeResult(metadata={name: value for name, value in metadata.items() if value is not None})

    return dg.materialize([flights], instance=instance, tags={events.LOCATION_TAG: "ingestion"}).run_id


def report(instance: dg.DagsterInstance, amount: object = 0.00002) -> None:
    """An event without a run: quicker to make."""
    metadata: dict[str, Any] = {**FIGURES, "cost/amount": amount}
    said = {name: value for name, value in metadata.items() if value is not None}
    instance.report_runless_asset_event(dg.AssetMaterialization(["eta", "model", "delay"], metadata=said))


def today() -> date:
    return datetime.now(UTC).date()


def test_each_materialisation_is_a_row(instance: dg.DagsterInstance) -> None:
    first, second = materialise(instance), materialise(instance, cpu_seconds=7.5)
    found = events.of_days(instance, today(), 1)
    assert [(cost.run_id, cost.cpu_seconds) for cost in found.costs] == [(first, 2.5), (second, 7.5)]
    cost = found.costs[0]
    assert (cost.location, cost.team, cost.asset) == ("ingestion", "data-engineers", "ingestion/raw/flights")
    assert (cost.peak_memory_bytes, cost.currency, cost.partition) == (2**28, "USD", None)
    assert time.time() - cost.created_at.replace(tzinfo=UTC).timestamp() < 600
    assert events.of_days(instance, date(2026, 1, 1), 1).costs == []


def test_one_without_cost_is_counted_and_left_out(instance: dg.DagsterInstance) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("by_hand"))
    found = events.of_days(instance, today(), 1)
    assert (found.costs, found.without_cost) == ([], 1)


@pytest.mark.parametrize("figure", ["a lot", None, -1.0, 1e300, math.inf, math.nan])
def test_figures_that_are_none_do_not_spoil_the_sum(instance: dg.DagsterInstance, figure: object) -> None:
    report(instance)
    report(instance, figure)
    found = events.of_days(instance, today(), 1)
    assert [cost.location for cost in found.costs] == ["eta"]
    assert found.unreadable == 1


@pytest.mark.parametrize("body", ["{", "null", "[" * 100_000, '{"__class__": "NoSuchThing"}', '"text"'])
def test_a_forged_event_is_counted_and_left_out(instance: dg.DagsterInstance, body: str) -> None:
    report(instance)
    storage: Any = instance.event_log_storage
    with storage.index_connection() as connection:
        insert = "INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp) VALUES ('x', :body, :kind, :at)"
        values = {"body": body, "kind": "ASSET_MATERIALIZATION", "at": f"{today()} 12:00:00"}
        connection.execute(text(insert), values)
        connection.commit()
    found = events.of_days(instance, today(), 1)
    assert len(found.costs) == 1
    assert found.unreadable + found.without_cost == 1


def test_the_reports_totals_equal_the_event_logs(instance: dg.DagsterInstance) -> None:
    materialise(instance, amount=0.001)
    for n in (2, 3, 4):
        report(instance, n / 1000)
    resources = {
        "costs_io_manager": LakeIOManager(code_location="platform"),
        "costs_lake": LakeResource(code_location="platform"),
    }
    made = dg.materialize(
        [assets.materialisations, assets.report],
        instance=instance,
        resources=resources,
        partition_key=today().isoformat(),
    )
    again = dg.materialize(  # a day that is repeated is replaced
        [assets.materialisations, assets.report],
        instance=instance,
        resources=resources,
        partition_key=today().isoformat(),
    )
    for done in (made, again):
        (event,) = [
            e for e in done.get_asset_materialization_events() if e.asset_key and e.asset_key.path[-1] == "report"
        ]
        metadata = event.step_materialization_data.materialization.metadata
        assert metadata["costs/amount"].value == pytest.approx(0.010)
        assert metadata["costs/cpu_seconds"].value == pytest.approx(10)
        assert "| eta | 0.009000 USD | 7.5 s | 12.0 s | 256 MiB | 3 | █" in str(metadata["costs/report"].value)


def test_a_page_of_nothing_says_so(instance: dg.DagsterInstance) -> None:
    import polars

    assert page(polars.DataFrame({"day": []})) == "Nothing has cost anything yet."


def test_names_stay_in_their_cell() -> None:
    import polars

    row = {"day": [today()], "location": ["a|b\n| x"], "team": ["<script>"], "asset": ["![x](http://evil)"]}
    figures = {"cpu_seconds": [1.0], "wall_seconds": [1.0], "peak_memory_bytes": [1], "amount": [1.0]}
    found = page(polars.DataFrame({**row, "currency": ["USD"], "materialisations": [1], **figures}))
    assert "a·b·· x" in found
    assert "<script>" not in found
    assert "](" not in found


def test_the_schedule_collects_the_day_before_and_reports() -> None:
    from platform_location.definitions import definitions

    served = definitions().get_repository_def()
    (schedule,) = [each for each in served.schedule_defs if each.name == "costs_daily"]
    at = datetime(2026, 12, 24, 1, 10, tzinfo=UTC)
    with dg.build_schedule_context(scheduled_execution_time=at, repository_def=served) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.partition_key == "2026-12-23"
    made = {key.to_user_string() for key in served.get_job("costs").asset_layer.executable_asset_keys}
    assert made == {"platform/costs/materialisations", "platform/costs/report"}
