"""Promise: every dbt model says what it cost, by dbt's own figure of its share of the step."""

import dagster as dg
import pytest

FIVE = {"cost/cpu_seconds", "cost/peak_memory_bytes", "cost/wall_seconds", "cost/amount", "cost/currency"}


def test_every_model_carries_its_cost(built: dg.ExecuteInProcessResult) -> None:
    made = [e.step_materialization_data.materialization for e in built.get_asset_materialization_events()]
    assert len(made) == 10
    for materialisation in made:
        assert materialisation.metadata.keys() >= FIVE, materialisation.asset_key
        assert materialisation.metadata["cost/team"].value == "analysts"


def test_a_model_that_takes_longer_costs_more(built: dg.ExecuteInProcessResult) -> None:
    made = [e.step_materialization_data.materialization for e in built.get_asset_materialization_events()]
    seconds = {m.asset_key: float(str(m.metadata["Execution Duration"].value)) for m in made}
    wall = {m.asset_key: float(str(m.metadata["cost/wall_seconds"].value)) for m in made}
    slowest, fastest = max(seconds, key=lambda key: seconds[key]), min(seconds, key=lambda key: seconds[key])
    assert seconds[slowest] > 2 * seconds[fastest]
    assert wall[slowest] > wall[fastest]
    # All of dbt's time, its start included, belongs to its models.
    assert sum(wall.values()) > sum(seconds.values())


@pytest.mark.parametrize("figure", ["cost/cpu_seconds", "cost/amount", "cost/peak_memory_bytes"])
def test_no_figure_is_nothing(built: dg.ExecuteInProcessResult, figure: str) -> None:
    for event in built.get_asset_materialization_events():
        assert float(str(event.step_materialization_data.materialization.metadata[figure].value)) > 0
