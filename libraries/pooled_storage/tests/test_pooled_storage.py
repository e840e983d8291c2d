"""Connections are kept, shared, and replaced when they died; what that saves is tested end to end."""

import math
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.run_storage import PostgresRunStorage
from pooled_storage import KEPT, MOST, PooledPostgresStorage
from pooled_storage.stored_runs import UnstorableRunError
from sqlalchemy.pool import QueuePool

URL = "postgresql://dagster:secret@nowhere:5432/dagster"
CONFIG = {
    "postgres_db": {"username": "dagster", "password": "se@cret", "hostname": "nowhere", "db_name": "dagster"},
    "should_autocreate_tables": False,
}


@pytest.fixture
def storage() -> PooledPostgresStorage:
    return PooledPostgresStorage(URL, should_autocreate_tables=False)


def test_runs_events_and_schedules_share_one_bounded_pool(storage: PooledPostgresStorage) -> None:
    engines = {part._engine for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage)}
    (engine,) = engines
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.size() == KEPT
    assert engine.pool._max_overflow == MOST - KEPT


def test_every_statement_is_committed_as_in_dagsters_own_class(storage: PooledPostgresStorage) -> None:
    own = DagsterPostgresStorage(URL, should_autocreate_tables=False)
    for mine, theirs in (
        (storage.run_storage, own.run_storage),
        (storage.event_log_storage, own.event_log_storage),
        (storage.schedule_storage, own.schedule_storage),
    ):
        assert mine._engine.dialect._on_connect_isolation_level == theirs._engine.dialect._on_connect_isolation_level
        assert mine._engine.url == theirs._engine.url


def test_the_webserver_keeps_the_pool(storage: PooledPostgresStorage) -> None:
    # Its own pool would not notice connections that died.
    before = storage.run_storage._engine
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        part.optimize_for_webserver(statement_timeout=15000, pool_recycle=3600, max_overflow=20)
        assert part._engine is before


def test_a_table_is_asked_for_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, tables = [], set[str]()
    monkeypatch.setattr(
        "dagster_postgres.event_log.event_log.PostgresEventLogStorage.has_table",
        lambda _, name: asked.append(name) or name in tables,
    )
    events = PooledPostgresStorage(URL, should_autocreate_tables=False).event_log_storage
    assert not events.supports_asset_checks
    tables.add("asset_check_executions")
    assert all(events.supports_asset_checks for _ in range(3))
    assert asked == ["asset_check_executions"] * 2


FILTERS = [
    None,
    dg.RunsFilter(),
    dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]),
    dg.RunsFilter(tags={"team": ["a", "b"], "kind": "x"}),
    dg.RunsFilter(job_name="second", exclude_subruns=True),
    dg.RunsFilter(exclude_subruns=True),
]


@pytest.mark.parametrize("filters", FILTERS)
def test_runs_are_counted_as_by_dagster_without_sorting_them(
    storage: PooledPostgresStorage, filters: dg.RunsFilter | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with dg.DagsterInstance.ephemeral() as instance:
        for number in range(12):
            tags = {"team": "abc"[number % 3], "kind": "xy"[number % 2]}
            tags |= {"dagster/backfill": "bbbbbbbb"} if number > 8 else {}
            status = dg.DagsterRunStatus.STARTED if number % 4 else dg.DagsterRunStatus.SUCCESS
            run = dg.DagsterRun(["first", "second"][number % 5 > 2], tags=tags, status=status)
            instance.run_storage.add_run(run)
        expected = instance.run_storage.get_runs_count(filters)
        monkeypatch.setattr(
            storage.run_storage,
            "fetchone",
            lambda query: (asked.append(str(query)), instance.run_storage.fetchone(query))[1],
        )
        monkeypatch.setattr(storage.run_storage, "has_built_index", lambda _: True)
        assert storage.run_storage.get_runs_count(filters) == expected > 0
    assert "ORDER BY" not in asked[0]


def test_dagster_makes_it_from_a_configuration_file(tmp_path: Any) -> None:
    custom = {"module": "pooled_storage", "class": "PooledPostgresStorage", "config": CONFIG}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"custom": custom}}))
    reference = InstanceRef.from_dir(str(tmp_path))
    assert isinstance(reference.storage_data, ConfigurableClassData)
    storage = reference.storage
    assert type(storage) is PooledPostgresStorage
    assert storage.postgres_url == "postgresql://dagster:se%40cret@nowhere:5432/dagster"
    assert storage.should_autocreate_tables is False


UNREADABLE = {
    "no number": ({"ops": {"load": {"config": {"least": math.nan}}}}, r"run_config\.ops\.load\.config\.least is nan"),
    "more than any number": ({"a": [1, math.inf]}, r"run_config\.a\.1 is inf"),
    "less than any number": ({"a": -math.inf}, r"run_config\.a is -inf"),
    "a character of number 0": ({"a": "b\0"}, r"run_config\.a is 'b\\x00'"),
    "half a character": ({"a": "\udc80"}, r"run_config\.a is '\\udc80'"),
    "a key with half a character": ({"\ud800": 1}, r"run_config\.'\\ud800' is '\\ud800'"),
}


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that came through to Dagster's own class."""
    runs: list[str] = []
    monkeypatch.setattr(PostgresRunStorage, "add_run", lambda _, run: runs.append(run.run_id) or run)
    return runs


@pytest.mark.parametrize(("configuration", "message"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_run_that_could_not_report_its_state_is_not_made(added: list[str], configuration: Any, message: str) -> None:
    storage = PooledPostgresStorage(URL, should_autocreate_tables=False)
    with pytest.raises(UnstorableRunError, match=message) as refused:
        storage.run_storage.add_run(dg.DagsterRun("load_all", run_config=configuration))
    assert "\n" not in str(refused.value)
    assert "The run of load_all was not made" in str(refused.value)
    assert added == []


def test_a_tag_that_could_not_be_read_is_refused_too(added: list[str]) -> None:
    storage = PooledPostgresStorage(URL, should_autocreate_tables=False)
    with pytest.raises(UnstorableRunError, match=r"tags\.a is '\\ud800'"):
        storage.run_storage.add_run(dg.DagsterRun("load_all", tags={"a": "\ud800"}))
    assert added == []


def test_any_other_run_is_made(added: list[str]) -> None:
    storage = PooledPostgresStorage(URL, should_autocreate_tables=False)
    odd = {"NaN": ["NaN", "\\u0000", "\U0001f6eb", 1e308, 10**400, None, {}, True], "": "\n"}
    run = storage.run_storage.add_run(dg.DagsterRun("load_all", run_config=odd))
    assert added == [run.run_id]
