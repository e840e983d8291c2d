"""What one location does to its own database must not keep the others from starting."""

import psycopg2
import pytest
from migrate import steps
from migrate.errors import MigrationError
from migrate.steps import former_readers
from provisioning.plan import Lake

LAKES = [Lake("analytics"), Lake("ingestion", ("analytics",))]


def prepare(monkeypatch, *broken):
    """Prepare the lakes, of which some refuse; what was prepared and what was said."""
    prepared, said = [], []

    def one(_admin, _settings, lake, _version, _say):
        if lake.owner in broken:
            raise psycopg2.ProgrammingError('schema "public" does not exist\n')
        prepared.append(lake.owner)

    monkeypatch.setattr(steps, "_lake", one)
    steps._lakes(None, None, LAKES, 170000, said.append)
    return prepared, said


def test_a_lake_whose_owner_shut_it_does_not_stop_the_others(monkeypatch):
    prepared, said = prepare(monkeypatch, "analytics")
    assert prepared == ["ingestion"]
    assert said == ['WARNING: lake_analytics stays as it was, with the readers it had: schema "public" does not exist']


def test_no_lake_at_all_is_a_failure(monkeypatch):
    with pytest.raises(MigrationError, match="No lake could be prepared"):
        prepare(monkeypatch, "analytics", "ingestion")


def test_all_is_well_without_a_word(monkeypatch):
    assert prepare(monkeypatch) == (["analytics", "ingestion"], [])


def test_readers_that_access_yaml_no_longer_names_lose_the_lake_and_only_they():
    locations = [("analytics",), ("ingestion",), ("gone",)]
    admitted = [("analytics",), ("ingestion",), ("gone",), ("dashboard",), ("postgres",)]
    assert former_readers(locations, admitted, LAKES[1]) == ["gone"]
    assert former_readers(locations, admitted, Lake("ingestion")) == ["analytics", "gone"]
