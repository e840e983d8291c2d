"""Attacks by a catalog: whatever a team makes of its own, the others' are read, and in time."""

import multiprocessing
import os
import re
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest
from backup.catalogs import Lake

from backup import catalogs, postgres
from platform_kit.migrations import scratch

SLEEPS = "create view ducklake_snapshot as select 1 as snapshot_id from pg_sleep(300)"
# A function that a query runs may lift the limit for those that follow.
LIFTS = """
create view ducklake_snapshot as select 1 as snapshot_id where set_config('statement_timeout', '0', false) = '0';
create view ducklake_metadata as select 'data_path' as key, '' as value, null::text as scope from pg_sleep(300)"""
LOCKED = "create table ducklake_snapshot (snapshot_id bigint)"


@pytest.fixture(scope="module")
def sockets() -> Iterator[Path]:
    with scratch.database() as server:
        run(server.host, "postgres", "create role postgres superuser login", user="scratch")
        yield Path(server.host)


def run(host: object, database: str, statements: str, user: str = "postgres") -> None:
    connection = psycopg2.connect(host=str(host), dbname=database, user=user)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for statement in re.split(r"(?<!\\);", statements):
                cursor.execute(statement.replace("\\;", ";"))
    finally:
        connection.close()


@pytest.fixture
def lakes(sockets: Path) -> Iterator[None]:
    """One that is hostile, and one that is empty and good."""
    names = ("lake_hostile", "lake_good")
    for name in names:
        run(sockets, "postgres", f"create database {name}")
    yield
    for name in names:
        run(sockets, "postgres", f"drop database {name} with (force)")


@pytest.mark.parametrize("attack", [SLEEPS, LIFTS], ids=["sleeps", "lifts the limit and sleeps"])
def test_one_that_sleeps_is_told_in_time(
    sockets: Path, lakes: None, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(sockets, "lake_hostile", attack)
    monkeypatch.setattr(catalogs, "_SECONDS", 1.0)
    begun = time.monotonic()
    found = {lake.database: lake for lake in catalogs.read(sockets)}
    assert time.monotonic() - begun < 20
    assert found["lake_hostile"].problem == "it does not answer within 1 s"
    assert found["lake_good"] == Lake("lake_good")


def test_one_that_is_locked_is_told_in_time(sockets: Path, lakes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run(sockets, "lake_hostile", LOCKED)
    monkeypatch.setattr(catalogs, "_SECONDS", 1.0)
    holder = psycopg2.connect(host=str(sockets), dbname="lake_hostile", user="postgres")
    try:
        with holder.cursor() as cursor:
            cursor.execute("lock table ducklake_snapshot in access exclusive mode")
        found = {lake.database: lake for lake in catalogs.read(sockets)}
    finally:
        holder.close()
    assert found["lake_hostile"].problem == "it does not answer within 1 s"
    assert found["lake_good"] == Lake("lake_good")


def test_one_that_names_too_many_files_is_told(sockets: Path, lakes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogs, "_MOST", 1000)
    run(sockets, "lake_hostile", MANY)
    found = {lake.database: lake for lake in catalogs.read(sockets)}
    assert "it names more than 1000 files" in found["lake_hostile"].problem
    assert found["lake_good"] == Lake("lake_good")


MANY = """
create table ducklake_snapshot (snapshot_id bigint);
create table ducklake_metadata as select 'data_path' as key, '/var/lib/lake/x/' as value, null::text as scope;
create table ducklake_table (table_id int, schema_id int, path text, path_is_relative bool, begin_snapshot int);
create table ducklake_schema (schema_id bigint, path text, path_is_relative bool, begin_snapshot bigint);
create view ducklake_data_file as select 1::bigint as table_id, n::text as path, true as path_is_relative,
  1::bigint as file_size_bytes from generate_series(1, 5000) as n;
create table ducklake_delete_file (table_id bigint, path text, path_is_relative bool, file_size_bytes bigint);
insert into ducklake_snapshot values (1)"""


FEW = """
create table ducklake_snapshot (snapshot_id bigint);
insert into ducklake_snapshot values (1);
create table ducklake_metadata as select 'data_path' as key, '/var/lib/lake/x/' as value, null::text as scope;
create table ducklake_table (table_id int, schema_id int, table_name text, path text, path_is_relative bool,
  begin_snapshot int, end_snapshot int);
create table ducklake_schema (schema_id bigint, schema_name text, path text, path_is_relative bool,
  begin_snapshot bigint, end_snapshot bigint);
create table ducklake_data_file (table_id bigint, path text, path_is_relative bool, file_size_bytes bigint,
  record_count bigint, begin_snapshot bigint, end_snapshot bigint);
create table ducklake_delete_file (table_id bigint, path text, path_is_relative bool, file_size_bytes bigint,
  delete_count bigint, begin_snapshot bigint, end_snapshot bigint);
create table ducklake_inlined_data_tables (table_id bigint, table_name text);
insert into ducklake_schema values (1, 'main', 'main/', true, 0, null);
insert into ducklake_table values (1, 1, 'flights', 'flights/', true, 0, null);
insert into ducklake_data_file values (1, 'a.parquet', true, 10, 7, 0, null)"""
ENDLESS = "from generate_series(1, 100000) as n"
# What each makes of the catalog above: without end, or of one word without end.
SWELLS = {
    "tables": """drop table ducklake_table; create view ducklake_table as select n as table_id, 1 as schema_id,
      n::text as table_name, '' as path, true as path_is_relative, 0 as begin_snapshot, null::int as end_snapshot
      from generate_series(1, 100000) as n""",
    "inlined tables": f"""drop table ducklake_inlined_data_tables;
      create view ducklake_inlined_data_tables as select 2 as table_id, 'x' as table_name {ENDLESS}""",
    "a file's path": "update ducklake_data_file set path = repeat('x', 100000000)",
    "a file's size": """drop table ducklake_data_file; create view ducklake_data_file as select 1::bigint as table_id,
      'a' as path, true as path_is_relative, 1e100000::numeric as file_size_bytes, 7 as record_count,
      0 as begin_snapshot, null::bigint as end_snapshot""",
    "a table's name": "update ducklake_table set table_name = repeat('x', 100000000)",
    "an inlined table's name": "insert into ducklake_inlined_data_tables values (2, repeat('x', 100000000))",
    "the data's path": "update ducklake_metadata set value = repeat('x', 100000000)",
    "data paths": f"""drop table ducklake_metadata; create view ducklake_metadata as
      select 'data_path' as key, '/x/' as value, null::text as scope {ENDLESS}""",
    "a name's function": """create function public."left"(text, int) returns text language sql as
      'select repeat($1, 9)';
      update ducklake_table set table_name = repeat('x', 100000000) where
        set_config('search_path', 'public, pg_catalog', false) is not null""",
    "an error": """drop table ducklake_snapshot; create function bomb() returns bigint language plpgsql as
      'begin raise exception ''%'', repeat(''x'', 200000000)\\; end'; create view ducklake_snapshot as
      select bomb() as snapshot_id""",
}


def test_a_catalog_like_any_other_is_read(sockets: Path, lakes: None) -> None:
    run(sockets, "lake_good", FEW)
    found = {lake.database: lake for lake in catalogs.read(sockets)}["lake_good"]
    assert found == Lake("lake_good", 1, {"main.flights": 7}, {"/var/lib/lake/x/main/flights/a.parquet": 10})
    assert (found.as_dict()["files"], found.as_dict()["bytes"]) == (1, 10)


@pytest.mark.parametrize("attack", SWELLS.values(), ids=SWELLS.keys())
def test_one_that_swells_takes_no_memory_from_the_others(
    sockets: Path, lakes: None, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogs, "_MOST", 2000)
    monkeypatch.setattr(catalogs, "_SECONDS", 10.0)
    monkeypatch.setattr(catalogs, "_GROWTH", 64 * 1024 * 1024)
    for name, more in (("hostile", attack), ("good", "")):
        run(sockets, f"lake_{name}", FEW)
        if more:
            run(sockets, f"lake_{name}", more)
    reader = multiprocessing.get_context("fork").Process(target=read_apart, args=(sockets,))
    reader.start()
    reader.join(40)
    ended = reader.exitcode
    reader.kill()
    reader.join()
    assert ended == 0


def read_apart(sockets: Path) -> None:
    """In a process whose largest size is its own."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {lake.database: lake for lake in catalogs.read(sockets)}
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ok = bool(found["lake_hostile"].problem or found["lake_hostile"].snapshot) and not found["lake_good"].problem
    print(found["lake_hostile"].problem, grown)
    os._exit(0 if ok and found["lake_good"].files and grown < 80_000 else 1)


@pytest.mark.parametrize("size", [50_000, 80_000], ids=["one", "together"])
def test_lakes_that_are_too_large_cost_the_largest_its_place(
    sockets: Path, lakes: None, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("hostile", 300), ("good", 200)):
        run(sockets, f"lake_{name}", FEW)
        more = "insert into ducklake_data_file select 1, n::text, true, 1, 1, 0, null"
        run(sockets, f"lake_{name}", f"{more} from generate_series(1, {number}) as n")
    monkeypatch.setattr(catalogs, "_BYTES", size)
    found = {lake.database: lake for lake in catalogs.read(sockets)}
    assert "it is too large to be looked through" in found["lake_hostile"].problem
    assert found["lake_good"].files


def test_time_that_is_over_is_over_before_the_next_statement(sockets: Path) -> None:
    with postgres.session(sockets, "postgres", seconds=0.3) as session:
        with pytest.raises(psycopg2.errors.QueryCanceled):
            session.ask("select pg_sleep(60)")
        with pytest.raises(TimeoutError):
            session.ask("select 1")
