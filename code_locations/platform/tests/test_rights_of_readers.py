"""Promise: alerts and costs read all locations' events with this location's role, which cannot write there."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.plan import execute_step
from platform_location.defs.alerts import events
from platform_location.defs.alerts.sensor import KINDS, State, look
from platform_location.defs.costs.events import of_days

from platform_kit.alerts.heartbeat import WEBSERVER, beat


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures of these tests are their own, also where another one has loaded this location's definitions."""
    made = execute_step._get_output_asset_events
    monkeypatch.setattr(execute_step, "_get_output_asset_events", getattr(made, "__wrapped__", made))


def instance(server: Any, user: str, password: str) -> Iterator[dg.DagsterInstance]:
    """Dagster on that Postgres, as one role."""
    database = {
        "username": user,
        "password": password,
        "hostname": "127.0.0.1",
        "port": server.port,
        "db_name": "dagster",
    }
    storage = {"postgres": {"postgres_db": database, "should_autocreate_tables": False}}
    with dg.instance_for_test(overrides={"storage": storage}) as made:
        yield made


@pytest.fixture
def service(server: Any) -> Iterator[dg.DagsterInstance]:
    """As the webserver."""
    yield from instance(server, "dagster", "password of dagster")


@pytest.fixture
def here(server: Any) -> Iterator[dg.DagsterInstance]:
    """As this location."""
    yield from instance(server, "platform", "password of platform_database")


def test_a_failure_of_another_location_is_seen(
    service: dg.DagsterInstance, here: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SETTLED_SECONDS", 0.0)

    @dg.asset(key=["ingestion", "raw", "flights"])
    def flights() -> dg.MaterializeResult[None]:
        figures = {"cpu_seconds": 1.0, "wall_seconds": 1.0, "peak_memory_bytes": 1, "amount": 1.0}
        return dg.MaterializeResult(metadata={f"cost/{name}": value for name, value in figures.items()})

    @dg.asset(deps=[flights])
    def broken() -> None:
        raise ValueError("broken")

    state = State(seen=dict.fromkeys(KINDS, events.newest(here)))
    tags = {"dagster/code_location": "ingestion"}
    dg.materialize([flights, broken], instance=service, tags=tags, raise_on_error=False)
    (alert,) = look(here, state, "https://dagster.example")
    assert alert.subject.startswith("ingestion: run failed")
    (cost,) = of_days(here, datetime.now(UTC).date(), 1).costs
    assert (cost.location, cost.amount) == ("ingestion", 1.0)


def test_only_the_webserver_says_that_it_lives(service: dg.DagsterInstance, here: dg.DagsterInstance) -> None:
    beat(service, 1000.0)
    assert here.run_storage.get_cursor_values({WEBSERVER}) == {WEBSERVER: "1000.0"}
    with pytest.raises(Exception, match="permission denied for table kvs"):
        beat(here, 2000.0)
