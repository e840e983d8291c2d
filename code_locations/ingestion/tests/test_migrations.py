"""The location's own tables in Postgres: models, revisions and what assets store agree, on a real server."""

from collections.abc import Callable, Iterator

import ingestion
import polars as pl
import pytest
import sqlalchemy as sa
from ingestion.models import metadata
from ingestion.tables import REFERENCE, REFERENCE_SCHEMA

from platform_kit.environment import PostgresCatalog
from platform_kit.migrations import chain, scratch
from platform_kit.migrations.moving import Patience, downgrade, trial, upgrade
from platform_kit.postgres import PostgresResource

Data = Callable[[str], pl.DataFrame]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresCatalog]:
    with scratch.database() as catalog:
        yield catalog


@pytest.fixture
def database(server: PostgresCatalog, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresCatalog]:
    """An empty database, as the location's settings name it."""
    for name, value in {"HOST": server.host, "USER": server.user, "PASSWORD": "none"}.items():
        monkeypatch.setenv(f"POSTGRES_{name}", value)
    yield server
    resource = PostgresResource(prefix="POSTGRES", database=server.database)
    with resource.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {REFERENCE_SCHEMA}, migrations CASCADE")


@pytest.fixture
def revisions() -> chain.Chain:
    found = chain.find(ingestion.__name__)
    assert found is not None
    return found


def store(database: PostgresCatalog, data: Data, *, makes_tables: bool) -> dict[str, pl.DataFrame]:
    """What a run of the assets stores, and then finds."""
    resource = PostgresResource(prefix="POSTGRES", database=database.database, makes_tables=makes_tables)
    for table in REFERENCE:
        resource.upsert(REFERENCE_SCHEMA, table.name, data(table.name), table.key)
    return {
        table.name: resource.query(f"SELECT * FROM {REFERENCE_SCHEMA}.{table.name}").sort(table.key)
        for table in REFERENCE
    }


def test_no_model_is_without_its_revision(revisions: chain.Chain, database: PostgresCatalog) -> None:
    assert trial(revisions, database, Patience()) == []


def test_a_column_without_its_revision_would_be_found(revisions: chain.Chain, database: PostgresCatalog) -> None:
    more = sa.MetaData(schema=REFERENCE_SCHEMA)
    for table in metadata.tables.values():
        table.to_metadata(more)
    more.tables["reference.airlines"].append_column(sa.Column("country", sa.Text))
    object.__setattr__(revisions, "metadata", more)
    assert trial(revisions, database, Patience()) == [
        "reference.airlines: column country is in the models, not in the database"
    ]


def test_the_rows_of_the_api_fit_the_tables(revisions: chain.Chain, database: PostgresCatalog, data: Data) -> None:
    upgrade(revisions, database, None, Patience())
    stored = store(database, data, makes_tables=False)
    assert {name: frame.height for name, frame in stored.items()} == {
        "airlines": 16,
        "airports": 1_458,
        "planes": 3_322,
    }
    for table in REFERENCE:
        assert stored[table.name].equals(data(table.name).sort(table.key))


def test_tables_that_an_upsert_has_made_stay_with_their_rows(
    revisions: chain.Chain, database: PostgresCatalog, data: Data
) -> None:
    before = store(database, data, makes_tables=True)
    moved = upgrade(revisions, database, None, Patience())
    assert (moved.before, moved.after, moved.differences) == (None, revisions.head, ())
    after = store(database, data, makes_tables=False)
    assert [name for name in before if not after[name].equals(before[name])] == []
    # And the way back: the version before goes on with the same tables.
    assert downgrade(revisions, database, "base", Patience()).after is None
    again = store(database, data, makes_tables=True)
    assert [name for name in before if not again[name].equals(before[name])] == []
