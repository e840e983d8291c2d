"""Which source is read where: assets ask for a database and cannot tell."""

import pytest
from ingestion.defs import resources

from platform_kit.embedded import EmbeddedDatabase
from platform_kit.environment import Environment, Kind
from platform_kit.postgres import PostgresResource

PLACES = {
    "a laptop": (Kind.LOCAL, "local", EmbeddedDatabase),
    "a branch": (Kind.BRANCH, "branch-7", PostgresResource),
    "production": (Kind.PROD, "prod", PostgresResource),
}


@pytest.mark.parametrize("place", PLACES)
def test_databases_follow_the_environment(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, name, expected = PLACES[place]
    monkeypatch.setattr(resources, "HERE", Environment(kind, name, "ingestion"))
    found = resources.resources().resources or {}
    assert {type(found["source_database"]), type(found["reference_database"])} == {expected}


def test_a_developer_may_name_a_real_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATABASE_HOST", "replica.internal")
    found = resources.resources().resources or {}
    assert isinstance(found["source_database"], PostgresResource)
    assert isinstance(found["reference_database"], EmbeddedDatabase)


def test_where_migrations_make_tables_no_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "HERE", Environment(Kind.PROD, "prod", "ingestion"))
    found = (resources.resources().resources or {})["reference_database"]
    assert isinstance(found, PostgresResource)
    assert not found.makes_tables
