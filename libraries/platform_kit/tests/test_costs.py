"""Promise: every materialisation carries what it cost, and a run's figures add up to what its container has used."""

import json
import math
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.plan import execute_plan, execute_step

from platform_kit.alerts import AlertPolicy, as_metadata, from_metadata
from platform_kit.costs import measured, recording, split, split_by_execution_time
from platform_kit.costs.ledger import Ledger
from platform_kit.costs.meter import Meter, Usage
from platform_kit.costs.prices import GB, Prices, from_settings
from platform_kit.environment import SettingError

# What Dagster calls beta is what the locations use.
pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
FIVE = {"cost/cpu_seconds", "cost/peak_memory_bytes", "cost/wall_seconds", "cost/amount", "cost/currency"}


class Counter(Meter):
    """A meter that moves only when a test says so: shares are then exact."""

    def __init__(self) -> None:
        super().__init__()
        self.cpu = 0.0

    def use(self, cpu: float) -> None:
        self.cpu += cpu

    def read(self) -> Usage:
        return Usage(self.cpu, 2 * self.cpu)

    def peak_memory(self) -> int:
        return GB


@pytest.fixture(autouse=True)
def only_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process are not measured afterwards."""
    for module, name in (
        (execute_step, "_get_output_asset_events"),
        (execute_plan, "core_dagster_event_sequence_for_step"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    meter = Counter()
    account = Ledger(meter)
    monkeypatch.setattr(recording, "ledger", lambda: account)
    return meter


class Writer(dg.IOManager):
    """Writing costs five."""

    def __init__(self, meter: Counter) -> None:
        self.meter = meter

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        self.meter.use(5)

    def load_input(self, context: dg.InputContext) -> int:
        self.meter.use(2)
        return 1


def run(assets: list[Any], meter: Counter, **how: Any) -> dict[tuple[str, str | None], dict[str, Any]]:
    """Materialise, and give each materialisation's metadata."""
    definitions = measured(dg.Definitions(assets, resources={"io_manager": Writer(meter)}))
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(instance=instance, **how)
    found = {}
    for event in result.get_asset_materialization_events():
        made = event.step_materialization_data.materialization
        key = (made.asset_key.to_user_string(), made.partition)
        found[key] = {name: value.value for name, value in made.metadata.items()}
    return found


def cpu(found: dict[tuple[str, str | None], dict[str, Any]]) -> dict[str, float]:
    return {key: metadata["cost/cpu_seconds"] for (key, _), metadata in found.items()}


def test_reading_and_writing_count_as_much_as_the_function(counter: Counter) -> None:
    @dg.asset
    def raw() -> int:
        counter.use(1)
        return 1

    @dg.asset
    def mart(raw: int) -> int:
        counter.use(10)
        return raw

    found = run([raw, mart], counter)
    assert cpu(found) == {"raw": 1 + 5, "mart": 2 + 10 + 5}
    assert all(metadata.keys() >= FIVE for metadata in found.values())


def test_start_up_is_shared_evenly(counter: Counter) -> None:
    @dg.asset
    def one() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult()

    @dg.asset(deps=[one])
    def two() -> dg.MaterializeResult[None]:
        counter.use(1)
        return dg.MaterializeResult()

    counter.use(6)
    assert cpu(run([one, two], counter)) == {"one": 3, "two": 4}


def test_each_asset_of_a_generator_pays_for_its_own(counter: Counter) -> None:
    @dg.multi_asset(specs=[dg.AssetSpec("small"), dg.AssetSpec("large")])
    def both() -> Iterator[dg.MaterializeResult[None]]:
        counter.use(1)
        yield dg.MaterializeResult("small")
        counter.use(9)
        yield dg.MaterializeResult("large")

    assert cpu(run([both], counter)) == {"small": 1, "large": 9}


def test_assets_that_are_returned_together_share_evenly(counter: Counter) -> None:
    @dg.multi_asset(outs={"left": dg.AssetOut(), "right": dg.AssetOut()})
    def both() -> tuple[int, int]:
        counter.use(10)
        return 1, 2

    found = cpu(run([both], counter))
    assert sum(found.values()) == 10 + 2 * 5
    assert found["left"] == (10 + 5) / 2


def test_a_function_may_say_how_its_work_divides(counter: Counter) -> None:
    @dg.multi_asset(specs=[dg.AssetSpec("small"), dg.AssetSpec("large")])
    def both() -> Iterator[dg.MaterializeResult[None]]:
        counter.use(20)
        split({dg.AssetKey("small"): 1, dg.AssetKey("large"): 3})
        yield dg.MaterializeResult("small")
        counter.use(1)
        yield dg.MaterializeResult("large")

    assert cpu(run([both], counter)) == {"small": 5, "large": 16}


# As dagster-dbt 0.29.27 yielded them for `dbt build` on a year of flights: tests are among the models.
DBT = [("stg_flights", 0.117), (None, 0.03), ("delays_by_day", 0.533), (None, 0.021), ("delays_by_route", 1.35)]


def test_dbt_models_pay_by_their_execution_time(counter: Counter) -> None:
    specs = [dg.AssetSpec(name) for name, _ in DBT if name]
    checks = [dg.AssetCheckSpec(f"check_{n}", asset="stg_flights") for n, (name, _) in enumerate(DBT) if name is None]

    @dg.multi_asset(specs=specs, check_specs=checks)
    def models(context: dg.AssetExecutionContext) -> Iterator[Any]:
        counter.use(20)  # dbt runs to its end before its events are yielded
        yield from split_by_execution_time(context, _stream())

    found = cpu(run([models], counter))
    whole = sum(seconds for name, seconds in DBT if name)
    assert found == pytest.approx({name: 20 * seconds / whole for name, seconds in DBT if name})
    assert math.isclose(sum(found.values()), 20)


def _stream() -> Iterator[Any]:
    for n, (name, seconds) in enumerate(DBT):
        metadata = {"unique_id": f"model.analytics.{name}", "invocation_id": "1", "Execution Duration": seconds}
        if name:
            yield dg.Output(None, output_name=name, metadata=metadata)
        else:
            yield dg.AssetCheckResult(passed=True, asset_key="stg_flights", check_name=f"check_{n}", metadata=metadata)


def test_partitions_of_one_run_add_up_to_it(counter: Counter) -> None:
    days = dg.DailyPartitionsDefinition("2013-01-01", end_date="2014-01-01")

    @dg.asset(partitions_def=days, backfill_policy=dg.BackfillPolicy.single_run())
    def flights() -> dg.MaterializeResult[None]:
        counter.use(73)
        return dg.MaterializeResult()

    whole = {"dagster/asset_partition_range_start": "2013-01-01", "dagster/asset_partition_range_end": "2013-12-31"}
    found = run([flights], counter, tags=whole)
    assert len(found) == 365
    assert {metadata["cost/cpu_seconds"] for metadata in found.values()} == {0.2}
    price = from_settings()
    amount = math.fsum(metadata["cost/amount"] for metadata in found.values())
    assert amount == pytest.approx(price.amount(Usage(73, 146), GB))


def test_a_graph_pays_for_its_ops(counter: Counter) -> None:
    @dg.op
    def begin() -> int:
        counter.use(1)
        return 1

    @dg.op
    def end(begun: int) -> int:
        counter.use(3)
        return begun

    @dg.graph_asset
    def both() -> int:
        return end(begin())  # type: ignore[no-any-return]

    # Both ops' values are written, one is read.
    assert cpu(run([both], counter)) == {"both": 1 + 5 + 2 + 3 + 5}


def test_an_attempt_that_failed_is_paid_by_the_next(counter: Counter) -> None:
    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
    def flaky(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        counter.use(4)
        if not context.retry_number:
            raise RuntimeError("the source was away")
        return dg.MaterializeResult()

    assert cpu(run([flaky], counter)) == {"flaky": 8}


@pytest.mark.filterwarnings("ignore:Property `OpDefinition.version`:DeprecationWarning")
def test_an_observation_costs_nothing(counter: Counter) -> None:
    @dg.observable_source_asset
    def source() -> dg.DataVersion:
        counter.use(1)
        return dg.DataVersion("1")

    definitions = measured(dg.Definitions([source], jobs=[dg.define_asset_job("look", selection=[source])]))
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("look").execute_in_process(instance=instance)
        (event,) = result.get_asset_observation_events()
    assert not event.asset_observation_data.asset_observation.metadata.keys() & FIVE


def test_owner_and_alert_policies_of_the_definition_go_along(counter: Counter) -> None:
    late = AlertPolicy(when="late", to=["webhook"], after_hours=30)

    @dg.asset(owners=["team:data-engineers", "ana@example.org"], metadata=as_metadata([late]))
    def flights() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={"own": "kept"})

    ((_, metadata),) = run([flights], counter).items()
    assert metadata["cost/team"] == "data-engineers"
    assert metadata["own"] == "kept"
    assert from_metadata(metadata) == [late]


def test_money_is_processor_time_and_memory_for_its_hours() -> None:
    price = Prices(vcpu_hour=0.04, gb_hour=0.005, currency="EUR")
    assert price.amount(Usage(cpu=3600, wall=7200), 3 * GB) == pytest.approx(0.04 + 3 * 2 * 0.005)
    assert price.amount(Usage(), GB) == 0


def test_prices_come_from_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRICE_PER_VCPU_HOUR", "1.5")
    monkeypatch.setenv("PRICE_PER_GB_HOUR", "0")
    monkeypatch.setenv("PRICE_CURRENCY", "EUR")
    assert from_settings() == Prices(1.5, 0, "EUR")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PRICE_PER_VCPU_HOUR", "1,5"),
        ("PRICE_PER_VCPU_HOUR", "-1"),
        ("PRICE_PER_GB_HOUR", "nan"),
        ("PRICE_PER_GB_HOUR", "inf"),
        ("PRICE_CURRENCY", "euro"),
    ],
)
def test_a_wrong_price_is_named_when_definitions_load(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=f"{name} is '{value}': expected"):
        measured(dg.Definitions())


def test_a_containers_counters_are_read_in_both_versions_of_control_groups(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEPLOYMENT", "prod")
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "cpuacct").mkdir(parents=True)
    (one / "memory").mkdir()
    (one / "cpuacct" / "cpuacct.usage").write_text("12500000000\n")
    (one / "memory" / "memory.max_usage_in_bytes").write_text("300000000\n")
    two.mkdir()
    (two / "cpu.stat").write_text("usage_usec 12500000\nuser_usec 10000000\nsystem_usec 2500000\n")
    (two / "memory.peak").write_text("300000000\n")
    for root in (one, two):
        meter = Meter(root)
        assert (meter.read().cpu, meter.peak_memory()) == (12.5, 300_000_000)


def test_outside_of_a_container_the_process_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 99000000000\n")
    monkeypatch.delenv("DEPLOYMENT", raising=False)
    assert Meter(tmp_path).read().cpu < 9000
    # A step's own process, too: in its container the processes of other steps count as well.
    monkeypatch.setenv("DEPLOYMENT", "prod")
    with monkeypatch.context() as child:
        child.setattr(multiprocessing, "parent_process", multiprocessing.current_process)
        assert Meter(tmp_path).read().cpu < 9000
    # In a container of a kernel that keeps no peak, or without control groups, too.
    meter = Meter(tmp_path / "nothing")
    assert 0 < meter.read().cpu < 9000
    assert meter.peak_memory() > 10_000_000


SCRIPT = """
import json, resource
import dagster as dg
from platform_kit.costs import measured

def work(seconds):
    import time
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

@dg.asset
def first():
    work(0.3)
    return dg.MaterializeResult()

@dg.asset(deps=[first])
def second():
    work(0.6)
    return dg.MaterializeResult()

@dg.asset_check(asset=second)
def last():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return dg.AssetCheckResult(passed=True, metadata={"used": used.ru_utime + used.ru_stime})

job = measured(dg.Definitions([first, second], asset_checks=[last])).resolve_implicit_global_asset_job_def()
with dg.DagsterInstance.ephemeral() as instance:
    result = job.execute_in_process(instance=instance)
made = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
(check,) = result.get_asset_check_evaluations()
cost = {m.asset_key.to_user_string(): m.metadata["cost/cpu_seconds"].value for m in made}
print(json.dumps({"cost": cost, "used": check.metadata["used"].value}))
"""


def test_the_figures_of_a_real_run_add_up_to_what_its_process_used(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=100
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["cost"]["second"] - found["cost"]["first"] == pytest.approx(0.3, abs=0.15)
    assert sum(found["cost"].values()) == pytest.approx(found["used"], rel=0.1)
