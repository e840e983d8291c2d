"""Connections are kept, shared, and replaced when they died; what that saves is tested end to end."""

from typing import Any

import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from pooled_storage import KEPT, MOST, PooledPostgresStorage
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


def test_dagster_makes_it_from_a_configuration_file(tmp_path: Any) -> None:
    custom = {"module": "pooled_storage", "class": "PooledPostgresStorage", "config": CONFIG}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"storage": {"custom": custom}}))
    reference = InstanceRef.from_dir(str(tmp_path))
    assert isinstance(reference.storage_data, ConfigurableClassData)
    storage = reference.storage
    assert type(storage) is PooledPostgresStorage
    assert storage.postgres_url == "postgresql://dagster:se%40cret@nowhere:5432/dagster"
    assert storage.should_autocreate_tables is False
