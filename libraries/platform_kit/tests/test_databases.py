"""Databases as assets use them. What needs a Postgres server is in the end-to-end tests."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from platform_kit import postgres, postgres_types
from platform_kit.database import DatabaseError
from platform_kit.embedded import EmbeddedDatabase
from platform_kit.postgres import PostgresResource

AIRLINES = pl.DataFrame({"carrier": ["AA", "UA"], "name": ["American", "United"]})


@pytest.fixture
def embedded(tmp_path: Path) -> EmbeddedDatabase:
    return EmbeddedDatabase(path=str(tmp_path / "database" / "tables.duckdb"))


def test_an_upsert_that_is_repeated_changes_nothing(embedded: EmbeddedDatabase) -> None:
    assert [embedded.upsert("reference", "airlines", AIRLINES, ["carrier"]) for _ in range(2)] == [2, 2]
    assert embedded.query("FROM reference.airlines ORDER BY carrier").equals(AIRLINES)


def test_an_upsert_changes_and_adds_rows_and_columns_and_keeps_the_others(embedded: EmbeddedDatabase) -> None:
    embedded.upsert("reference", "airlines", AIRLINES, ["carrier"])
    later = pl.DataFrame({"carrier": ["UA", "B6"], "name": ["United Airlines", "JetBlue"], "country": ["US", "US"]})
    assert embedded.upsert("reference", "airlines", later, ["carrier"]) == 3
    assert embedded.query("FROM reference.airlines ORDER BY carrier").rows() == [
        ("AA", "American", None),
        ("B6", "JetBlue", "US"),
        ("UA", "United Airlines", "US"),
    ]


def test_a_query_takes_parameters_as_postgres_does(embedded: EmbeddedDatabase) -> None:
    embedded.upsert("reference", "airlines", AIRLINES, ["carrier"])
    parameters = {"name": "it's %(carrier)s; DROP TABLE reference.airlines", "carrier": "AA"}
    query = "SELECT carrier FROM reference.airlines WHERE carrier = %(carrier)s OR name = %(name)s"
    assert embedded.query(query, parameters).rows() == [("AA",)]


@pytest.mark.parametrize(
    ("frame", "key", "message"),
    [
        (AIRLINES, ["code"], r"the key of reference\.airlines needs columns \['code'\]"),
        (AIRLINES, [], r"needs columns \[\]"),
        (pl.DataFrame({"carrier": ["AA", None]}), ["carrier"], "1 of 2 rows for .* have no carrier"),
        (pl.DataFrame({"carrier": ["AA", "AA", "B6"]}), ["carrier"], r"1 keys of .* more than once, such as \('AA',\)"),
        (AIRLINES.rename({"name": 'x" int; DROP TABLE y; --'}), ["carrier"], "is not a plain name"),
    ],
)
def test_an_upsert_that_would_lose_rows_is_refused(
    embedded: EmbeddedDatabase, frame: pl.DataFrame, key: list[str], message: str
) -> None:
    with pytest.raises(DatabaseError, match=message):
        embedded.upsert("reference", "airlines", frame, key)
    with pytest.raises(DatabaseError, match=message):  # before it connects: there is no server here
        PostgresResource(prefix="NOWHERE").upsert("reference", "airlines", frame, key)


@pytest.mark.parametrize("name", ["a b", 'a"b', "a;b", "", "1a", "a" * 64])
def test_a_table_name_that_is_none_is_refused(embedded: EmbeddedDatabase, name: str) -> None:
    with pytest.raises(DatabaseError, match="is not a plain name"):
        embedded.upsert("reference", name, AIRLINES, ["carrier"])
    with pytest.raises(DatabaseError, match="is not a plain name"):
        embedded.upsert(name, "airlines", AIRLINES, ["carrier"])


def test_a_postgres_that_does_not_answer_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"HOST": "127.0.0.1", "PORT": "1", "NAME": "flight_operations", "USER": "reader", "PASSWORD": "hunter2"}
    for name, value in settings.items():
        monkeypatch.setenv(f"SOURCE_DATABASE_{name}", value)
    with pytest.raises(DatabaseError, match=r"cannot connect to database flight_operations at 127\.0\.0\.1:1 as") as e:
        PostgresResource(prefix="SOURCE_DATABASE").query("SELECT 1")
    assert "hunter2" not in repr(e.value)
    assert e.value.__suppress_context__


@pytest.mark.parametrize(
    ("prefix", "settings", "expected"),
    [
        ("POSTGRES", {}, {}),
        ("SOURCE_DATABASE", {}, {"sslmode": "prefer", "sslrootcert": "/nonexistent"}),
        (
            "SOURCE_DATABASE",
            {"SOURCE_DATABASE_SSLMODE": "verify-full", "SOURCE_DATABASE_SSLROOTCERT": "/a.pem"},
            {"sslmode": "verify-full", "sslrootcert": "/a.pem"},
        ),
    ],
)
def test_the_tls_of_the_deployments_own_server_is_not_asked_of_a_source(
    monkeypatch: pytest.MonkeyPatch, prefix: str, settings: dict[str, str], expected: dict[str, str]
) -> None:
    import psycopg2

    values = {"HOST": "127.0.0.1", "PORT": "1", "NAME": "x", "USER": "x", "PASSWORD": "x"}
    for name, value in {**{f"{prefix}_{key}": value for key, value in values.items()}, **settings}.items():
        monkeypatch.setenv(name, value)
    # As deploy/overlays/external-postgres.yml sets them for every process.
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", "/run/secrets/postgres_authority")
    asked: dict[str, object] = {}

    def connect(**how: object) -> None:
        asked.update(how)
        raise psycopg2.OperationalError("nobody")

    monkeypatch.setattr(psycopg2, "connect", connect)
    with pytest.raises(DatabaseError, match="nobody"):
        PostgresResource(prefix=prefix).query("SELECT 1")
    assert {key: value for key, value in asked.items() if key.startswith("ssl")} == expected


def test_no_password_is_in_what_dagster_shows_of_a_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATABASE_PASSWORD", "hunter2")
    resource = PostgresResource(prefix="SOURCE_DATABASE")
    assert "hunter2" not in f"{resource!r} {resource.model_dump()}"


def test_an_upsert_leaves_rows_that_are_the_same_alone() -> None:
    assert postgres._merge("reference.airlines", ["carrier", "name"], ["carrier"]) == (
        'INSERT INTO reference.airlines AS stored ("carrier", "name") SELECT "carrier", "name" FROM incoming '
        'ON CONFLICT ("carrier") DO UPDATE SET ("name") = ROW(excluded."name") '
        'WHERE (stored."name") IS DISTINCT FROM (excluded."name")'
    )
    assert postgres._merge("a.b", ["id"], ["id"]).endswith('ON CONFLICT ("id") DO NOTHING')


COLUMNS: Mapping[str, tuple[int, Any, list[Any]]] = {
    "small": (21, pl.Int16(), [1, None]),
    "integer": (23, pl.Int32(), [-5, None]),
    "big": (20, pl.Int64(), [1 << 60, None]),
    "number": (701, pl.Float64(), [0.1, None]),
    "text": (25, pl.String(), ['a,"b"\nc\\N NULL', None]),
    "empty": (1043, pl.String(), ["", None]),
    "flag": (16, pl.Boolean(), [True, None]),
    "day": (1082, pl.Date(), [date(2013, 1, 1), None]),
    "clock": (1083, pl.Time(), [time(1, 2, 3), None]),
    "local": (1114, pl.Datetime("us"), [datetime(2013, 1, 1, 1, 2, 3, 4), None]),
    "moment": (1184, pl.Datetime("us", "UTC"), [datetime(2013, 1, 1, tzinfo=UTC), None]),
    "money": (1700, pl.Decimal(10, 2), [Decimal("12.30"), None]),
}


def described(name: str, code: int) -> SimpleNamespace:
    numeric = code == 1700
    return SimpleNamespace(name=name, type_code=code, precision=10 if numeric else None, scale=2 if numeric else None)


def test_values_come_from_postgres_as_they_are_there() -> None:
    # As COPY writes them with the session's settings (see the options of a connection).
    line = (
        b'1,-5,1152921504606846976,0.1,"a,""b""\nc\\N NULL","",t,2013-01-01,01:02:03,'
        b"2013-01-01 01:02:03.000004,2013-01-01 00:00:00+00,12.30\n"
    )
    nothing = ",".join(["\x01NULL"] * len(COLUMNS)).encode() + b"\n"
    types = {name: postgres_types.to_polars(described(name, code)) for name, (code, _, _) in COLUMNS.items()}
    assert types == {name: kind for name, (_, kind, _) in COLUMNS.items()}
    frame = postgres_types.read_csv(postgres_types.io.BytesIO(line + nothing), types)
    assert frame.to_dict(as_series=False) == {name: values for name, (_, _, values) in COLUMNS.items()}
    assert postgres_types.read_csv(postgres_types.io.BytesIO(), types).schema == frame.schema


def test_values_go_to_postgres_so_that_nothing_and_empty_stay_apart() -> None:
    frame = pl.DataFrame({"text": ["", None, 'a,"b"\n'], "number": [1.5, None, 2.0]})
    assert postgres_types.write_csv(frame).getvalue() == b'"",1.5\n\x01NULL,\x01NULL\n"a,""b""\n",2.0\n'


def test_a_type_that_postgres_has_not_is_refused() -> None:
    with pytest.raises(DatabaseError, match=r"polars type List\(Int64\) has no column type"):
        postgres_types.of_polars(pl.List(pl.Int64))
    with pytest.raises(DatabaseError, match="column raw is bytea: select encode"):
        postgres_types.to_polars(described("raw", 17))
