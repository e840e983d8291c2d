"""What a run has told, and its tags, in a real Postgres: a location tells of its own runs, and of no other's.

Attacked as the role of one location; and Dagster itself does all it does, as the role of a run's own location.
"""

import re
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg2
import pytest
from dagster import DagsterInstance
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.instance.ref import InstanceRef
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.utils import make_new_run_id
from dagster._serdes import serialize_value
from migrate.guard import LOCATION_PATH, guard_runs
from pooled_storage import PooledPostgresStorage
from pooled_storage.stored_runs import UnstorableRunError
from provisioning.plan import LOCATION_DELETES, LOCATION_INSERTS, LOCATION_UPDATES, OWNER, SERVICE
from provisioning.statements import grant_dagster

from platform_kit.migrations.scratch import database

IN_PROCESS = dg.in_process_executor
OWN, OTHER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
NOWHERE = "00000000-0000-4000-8000-000000000003"
# One more of its own, of which things are told that Dagster does not read.
SPARE = "00000000-0000-4000-8000-000000000004"
ROLES = (OWNER, SERVICE, "mine", "other")


class Database:
    """Dagster's tables with two locations' roles."""

    def __init__(self, socket: str, folder: Any) -> None:
        self.socket, self.folder = socket, folder

    def sql(self, statement: str, *values: Any, user: str = "mine") -> list[Any]:
        connection = psycopg2.connect(host=self.socket, user=user, dbname="dagster")
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def address(self, role: str) -> str:
        return f"postgresql://{role}@/dagster?host={self.socket}"

    def instance(self, role: str, *, makes_tables: bool = False) -> DagsterInstance:
        storage = {"postgres": {"postgres_url": self.address(role), "should_autocreate_tables": makes_tables}}
        settings = {"storage": storage, "telemetry": {"enabled": False}}
        home = self.folder / role
        home.mkdir(exist_ok=True)
        return DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides=settings))


def run_of(location: str, run_id: str, configuration: Any = None) -> dg.DagsterRun:
    """A run as the services make it."""
    server = GrpcServerCodeLocationOrigin(host=location, port=4000, location_name=location)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(server, "__repository__"), "work")
    tags = {"dagster/code_location": location, "user": "maria"}
    return dg.DagsterRun("work", run_id, run_config=configuration, remote_job_origin=origin, tags=tags)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with database() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        admin = psycopg2.connect(host=place.host, user="scratch", dbname="postgres")
        admin.autocommit = True
        with admin.cursor() as cursor:
            for role in ROLES:
                cursor.execute(f"CREATE ROLE {role} LOGIN")
            cursor.execute(f"CREATE DATABASE dagster OWNER {OWNER}")
        admin.close()
        made = Database(place.host, tmp_path_factory.mktemp("homes"))
        made.instance(OWNER, makes_tables=True).dispose()
        tables = [name for (name,) in made.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        prepare(made, tables)
        with made.instance(SERVICE) as services:
            services.add_run(run_of("mine", OWN))
            services.add_run(run_of("mine", SPARE))
            services.add_run(run_of("other", OTHER))
        made.sql(check(OTHER), user=SERVICE)
        made.sql("INSERT INTO asset_keys (asset_key) VALUES ('a')", user=SERVICE)
        made.sql("INSERT INTO concurrency_limits (concurrency_key, \"limit\") VALUES ('a', 1)", user=SERVICE)
        yield made


def prepare(made: Database, tables: list[str]) -> None:
    connection = psycopg2.connect(host=made.socket, user="scratch", dbname="dagster")
    with connection, connection.cursor() as cursor:
        for statement in (*guard_runs([]), *grant_dagster(ROLES[1:], tables)):
            cursor.execute(statement)
    connection.close()


def event(run_id: str, column: str | None = None, kind: str = "ENGINE_EVENT", **more: str) -> str:
    """The statement that tells one event; `column` is the row's run when it is not the text's."""
    columns = {"run_id": f"'{column or run_id}'", "event": f"""'{{"run_id": "{run_id}"}}'"""}
    columns |= {"dagster_event_type": f"'{kind}'", **more}
    return f"INSERT INTO event_logs ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"


def tag(run_id: str, key: str = "a", **more: str) -> str:
    columns = {"run_id": f"'{run_id}'", "key": f"'{key}'", "value": "'x'", **more}
    return f"INSERT INTO run_tags ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"


def check(run_id: str) -> str:
    columns = "asset_key, check_name, run_id, execution_status"
    return f"INSERT INTO asset_check_executions ({columns}) VALUES ('a', 'x', '{run_id}', 'FAILED')"


MANY = event(OWN) + f""", ('{OTHER}', '{{"run_id": "{OTHER}"}}', 'ENGINE_EVENT')"""
HIDDEN = f"""{{"run_id": "{OTHER}", "a": "\\u0000", "ru\\\\n_id": "{OWN}", "\\\\run_id": "{OWN}"}}"""
ATTACKS = {
    "tell of another's run": event(OTHER),
    "tell of a run that does not exist": event(NOWHERE),
    "tell of another's run in its own run's row": event(OTHER, OWN),
    "tell of its own run in another's row": event(OWN, OTHER),
    "tell of another's run in an event of no run": event(OTHER, "", "ASSET_OBSERVATION"),
    "tell of another's run beside its own": MANY,
    "fail no run at all": event("", "", "PIPELINE_FAILURE"),
    "tell of no run without a kind": "INSERT INTO event_logs (run_id, event) VALUES ('', '{\"run_id\": \"\"}')",
    "leave the run out": """INSERT INTO event_logs (event) VALUES ('{"run_id": null}')""",
    "leave the run out of the text": f"INSERT INTO event_logs (run_id, event) VALUES ('{OWN}', '{{}}')",
    "tell no JSON": f"INSERT INTO event_logs (run_id, event) VALUES ('{OWN}', 'x')",
    "tell a list": f"INSERT INTO event_logs (run_id, event) VALUES ('{OWN}', '[\"{OWN}\"]')",
    "name two runs in one text": (
        f'INSERT INTO event_logs (run_id, event) VALUES (\'{OWN}\', \'{{"run_id": "{OWN}", "run_id": "{OTHER}"}}\')'
    ),
    "hide the run behind what Postgres does not take": (
        f"INSERT INTO event_logs (run_id, event) VALUES ('{OWN}', '{HIDDEN}')"
    ),
    "hide the run's name behind escapes": (
        f"INSERT INTO event_logs (run_id, event) VALUES "
        f'(\'{OWN}\', \'{{"run_id": "{OWN}", "a": NaN, "\\u0072un_id": "{OTHER}"}}\')'
    ),
    "put all later events behind its own": event(OWN, id="9223372036854775807"),
    "take the place of the next events": event(OWN, id="(SELECT max(id) + 3 FROM event_logs)"),
    "rewrite what was told": "UPDATE event_logs SET event = ''",
    "tag another's run": tag(OTHER),
    "tag a run that does not exist": tag(NOWHERE),
    "take the place of the next tags": tag(OWN, id="(SELECT max(id) + 3 FROM run_tags)"),
    "change another's tag": f"UPDATE run_tags SET value = 'x' WHERE run_id = '{OTHER}'",
    "take over another's tag": f"UPDATE run_tags SET run_id = '{OWN}' WHERE run_id = '{OTHER}'",
    "give its own tag to another's run": f"UPDATE run_tags SET run_id = '{OTHER}' WHERE run_id = '{OWN}'",
    "call its own tag as a kept one": f"UPDATE run_tags SET key = 'user' WHERE run_id = '{OWN}' AND key <> 'user'",
    "delete tags": "DELETE FROM run_tags",
    "take the place of the next assets": "INSERT INTO asset_keys (id, asset_key) VALUES (9223372036854775807, 'x')",
    "take the place of the next partitions": (
        "INSERT INTO dynamic_partitions (id, partitions_def_name, partition) VALUES (9, 'x', 'y')"
    ),
    "take the place of the next slots": (
        "INSERT INTO concurrency_slots (id, concurrency_key, deleted) VALUES (9, 'x', false)"
    ),
    "number an asset anew": "UPDATE asset_keys SET id = id + 1000",
    "wipe assets": "UPDATE asset_keys SET wipe_timestamp = now()",
    "wipe assets by their details": "UPDATE asset_keys SET asset_details = NULL",
    "add an asset that is wiped": "INSERT INTO asset_keys (asset_key, wipe_timestamp) VALUES ('x', now())",
    "rename assets": "UPDATE asset_keys SET asset_key = 'x'",
    "say what another's check has come to": check(OTHER),
    "say what a check of a run that does not exist has come to": check(NOWHERE),
    "change what another's check has come to": "UPDATE asset_check_executions SET execution_status = 'SUCCEEDED'",
    "give another's check to its own run": f"UPDATE asset_check_executions SET run_id = '{OWN}'",
    "date a check back": "UPDATE asset_check_executions SET create_timestamp = now()",
    "rename a pool": "UPDATE concurrency_limits SET concurrency_key = 'x'",
    "hand out numbers anew": "SELECT setval('event_logs_id_seq', 1)",
    "use numbers of what only the services write up": "SELECT nextval('job_ticks_id_seq')",
    "switch the guard of events off": "ALTER TABLE event_logs DISABLE TRIGGER guard_events",
    "switch the guard of tags off": "ALTER TABLE run_tags DISABLE TRIGGER guard_run_tags",
    "drop the guard of events": "DROP TRIGGER guard_events ON event_logs",
    "drop the guard's function": "DROP FUNCTION guard_events() CASCADE",
    "replace the guard's function": (
        "CREATE OR REPLACE FUNCTION public.guard_events() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'"
    ),
    "have no triggers": "SET session_replication_role = replica",
}


HISTORY = ("event_logs", "run_tags", "asset_check_executions", "asset_keys", "dynamic_partitions", "concurrency_slots")


def rows(server: Database) -> list[Any]:
    asked = "SELECT count(*), coalesce(max(id), 0) FROM {}"
    return [server.sql(asked.format(table), user=SERVICE) for table in HISTORY]


@pytest.mark.parametrize("statement", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_location_cannot(server: Database, statement: str) -> None:
    before = rows(server)
    with pytest.raises((psycopg2.errors.InsufficientPrivilege, psycopg2.DataError)):
        server.sql(statement)
    assert rows(server) == before


MODES = ("ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE",
         "ACCESS EXCLUSIVE")  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("table", sorted({*LOCATION_INSERTS, *LOCATION_UPDATES, "kvs"} - {*LOCATION_DELETES}))
def test_a_location_cannot_lock_others_out_of(server: Database, table: str, mode: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        server.sql(f"LOCK TABLE {table} IN {mode} MODE")


@pytest.mark.parametrize("statement", ["SELECT 1 FROM runs FOR UPDATE", "LOCK TABLE pending_steps"])
def test_who_locks_what_it_may_is_found_and_ended_as_the_manual_says(server: Database, statement: str) -> None:
    # Postgres has no right that forbids these two; docs/database.md says so.
    manual = Path(__file__).parents[2].joinpath("docs/database.md").read_text(encoding="utf-8")
    (end_it,) = re.findall(r"```sql\n(SELECT pg_terminate_backend.*?)```", manual, re.DOTALL)
    table = statement.split()[3 if "FROM" in statement else 2]
    waits = f"UPDATE {table} SET run_id = run_id" if table == "runs" else f"SELECT count(*) FROM {table}"
    holder = psycopg2.connect(host=server.socket, user="mine", dbname="dagster")
    with ThreadPoolExecutor(1) as pool, closing(holder):
        holder.cursor().execute(statement)
        waiting = pool.submit(server.sql, waits, user=SERVICE)
        deadline = time.monotonic() + 30
        while not any(ended for (ended,) in server.sql(end_it, user="scratch")):
            assert time.monotonic() < deadline
            assert not waiting.done()
        waiting.result(timeout=30)


def test_a_search_path_of_its_own_does_not_change_whose_a_run_is(server: Database) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        server.sql("SET search_path = pg_temp, public; " + event(OTHER))


@pytest.mark.parametrize(
    "statement",
    [
        event(SPARE),
        event("", "", "ASSET_MATERIALIZATION"),
        event("", "", "FRESHNESS_STATE_CHANGE"),
        tag(OWN, "b"),
        check(OWN),
        check(""),
    ],
    ids=[
        "its run",
        "an asset of no run",
        "freshness of no run",
        "its run's tag",
        "its run's check",
        "a check of no run",
    ],
)
def test_a_location_tells_of(server: Database, statement: str) -> None:
    before = rows(server)
    server.sql(statement)
    assert rows(server) != before


@pytest.mark.parametrize("key", ["user", "dagster/code_location"])
@pytest.mark.parametrize("how", ["added", "changed"])
def test_a_kept_tag_stays_whatever_a_location_says(server: Database, key: str, how: str) -> None:
    asked = f"SELECT value FROM run_tags WHERE run_id = '{OWN}' AND key = '{key}'"
    before = server.sql(asked)
    assert len(before) == 1
    change = f"UPDATE run_tags SET value = 'x' WHERE run_id = '{OWN}' AND key = '{key}'"
    server.sql(tag(OWN, key) if how == "added" else change)
    assert server.sql(asked) == before


ODD_TEXTS = {
    "no number": float("nan"),
    "more than any number": float("inf"),
    "a character of number 0": "a\x00b",
    "half a character": "a\udc80b",
    "backslashes": "C:\\u0000\\data\\",
    "the name of the key": '"run_id": "x"',
}


@pytest.mark.parametrize("value", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_what_python_writes_and_postgres_does_not_read_is_told(server: Database, value: Any) -> None:
    with server.instance("mine") as instance:
        run = instance.get_run_by_id(OWN)
        assert run is not None
        before = len(instance.all_logs(OWN))
        observation = dg.AssetObservation("a", metadata={"odd": value, "nan": float("nan")})
        instance.report_runless_asset_event(observation)
        instance.report_engine_event(f"said {value!r} {value}", run)
        assert len(instance.all_logs(OWN)) == before + 1


@pytest.mark.parametrize("value", ODD_TEXTS.values(), ids=ODD_TEXTS.keys())
def test_a_run_is_made_only_if_it_can_report_its_state(server: Database, value: Any) -> None:
    storage = PooledPostgresStorage(server.address(SERVICE), should_autocreate_tables=False)
    run = run_of("mine", make_new_run_id(), {"a": value})
    try:
        storage.run_storage.add_run(run)
    except UnstorableRunError:
        with pytest.raises(psycopg2.DataError):
            server.sql("SELECT %s::json #>> %s", serialize_value(run), LOCATION_PATH)
    else:
        server.sql(event(run.run_id))
        server.sql("UPDATE runs SET status = 'STARTED' WHERE run_id = %s", run.run_id)
    finally:
        storage.run_storage._engine.dispose()


@dg.asset(check_specs=[dg.AssetCheckSpec("whole", asset="checked")])
def checked(context: dg.AssetExecutionContext) -> Iterator[Any]:
    context.log.info("at work")
    context.log_event(dg.AssetObservation("elsewhere", metadata={"nan": float("nan")}))
    context.instance.add_run_tags(context.run.run_id, {"mine": "1", "user": "eve"})
    context.instance.add_run_tags(context.run.run_id, {"mine": "2"})
    context.instance.add_dynamic_partitions("names", ["a"])
    context.instance.report_runless_asset_event(dg.AssetMaterialization("from_outside"))
    yield dg.MaterializeResult(tags={"a": "b"}, check_results=[dg.AssetCheckResult(passed=True, check_name="whole")])


@dg.op
def fails() -> None:
    raise ValueError("on purpose")


@dg.job
def failing() -> None:
    fails()


def carried_out(server: Database, job: Any, *, keys: tuple[str, ...] = ()) -> dg.DagsterRun:
    """A job's run, stored by the services and executed by its location."""
    tags = {"dagster/code_location": "mine", "user": "maria"}
    tags |= (
        {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[1]} if keys else {}
    )
    location = GrpcServerCodeLocationOrigin(host="mine", port=4000, location_name="mine")
    with server.instance(SERVICE) as services:
        made = services.create_run_for_job(
            job, tags=tags, remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "r"), job.name)
        )
    with server.instance("mine") as instance:
        execute_run(InMemoryJob(job), made, instance)
        found = instance.get_run_by_id(made.run_id)
    assert found is not None
    return found


def job_of(*assets: Any) -> Any:
    job = dg.define_asset_job("work_" + assets[0].key.to_python_identifier(), [*assets], executor_def=IN_PROCESS)
    return dg.Definitions([*assets], jobs=[job]).resolve_job_def(job.name)


def test_a_run_of_assets_checks_observations_tags_and_reports_is_carried_out(server: Database) -> None:
    found = carried_out(server, job_of(checked))
    assert found.status is dg.DagsterRunStatus.SUCCESS
    assert found.tags["user"] == "maria"
    assert found.tags["mine"] == "2"
    told = server.sql("SELECT key, value FROM run_tags WHERE run_id = %s AND key IN ('user', 'mine')", found.run_id)
    assert sorted(told) == [("mine", "2"), ("user", "maria")]
    with server.instance("mine") as instance:
        kinds = {entry.dagster_event_type for entry in instance.all_logs(found.run_id)}
        assert instance.get_latest_materialization_event(dg.AssetKey("from_outside")).run_id == RUNLESS_RUN_ID  # type: ignore[union-attr]
    wanted = {"ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "ASSET_CHECK_EVALUATION", "RUN_SUCCESS"}
    assert {dg.DagsterEventType[name] for name in wanted} <= kinds


@pytest.mark.filterwarnings("ignore:.*backfill_policy")
def test_a_run_of_a_range_of_partitions_writes_its_events_in_one_statement(
    server: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions, policy = dg.StaticPartitionsDefinition(["a", "b"]), dg.BackfillPolicy.single_run()

    @dg.asset(partitions_def=partitions, backfill_policy=policy)
    def parts() -> None: ...

    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "100")
    found = carried_out(server, job_of(parts), keys=("a", "b"))
    assert found.status is dg.DagsterRunStatus.SUCCESS
    asked = "SELECT partition FROM event_logs WHERE run_id = %s AND dagster_event_type = 'ASSET_MATERIALIZATION'"
    assert sorted(server.sql(asked, found.run_id)) == [("a",), ("b",)]


@dg.op(pool="limited")
def takes_a_slot(context: dg.OpExecutionContext) -> None:
    claimed = context.instance.event_log_storage.get_concurrency_info("limited").claimed_slots
    assert [slot.run_id for slot in claimed] == [context.run_id]


@dg.op(pool="unknown")
def takes_a_slot_of_a_pool_without_a_limit() -> None: ...


@dg.job(executor_def=IN_PROCESS)
def pooled() -> None:
    takes_a_slot()
    takes_a_slot_of_a_pool_without_a_limit()


def test_a_run_takes_slots_of_pools_and_gives_them_back(server: Database) -> None:
    with server.instance(SERVICE) as services:
        services.event_log_storage.set_concurrency_slots("limited", 1)
    assert carried_out(server, pooled).status is dg.DagsterRunStatus.SUCCESS
    with server.instance(SERVICE) as services:
        pool = services.event_log_storage.get_concurrency_info("limited")
        assert (pool.slot_count, pool.claimed_slots, pool.pending_steps) == (1, [], [])


def test_a_run_that_fails_says_so(server: Database) -> None:
    found = carried_out(server, failing)
    assert found.status is dg.DagsterRunStatus.FAILURE
    asked = "SELECT dagster_event_type FROM event_logs WHERE run_id = %s"
    assert ("PIPELINE_FAILURE",) in server.sql(asked, found.run_id)


def test_the_services_tell_of_every_run(server: Database) -> None:
    with server.instance(SERVICE) as services:
        for run_id in (OWN, OTHER):
            run = services.get_run_by_id(run_id)
            assert run is not None
            before = len(services.all_logs(run_id))
            services.report_engine_event("from the daemon", run)
            services.add_run_tags(run_id, {"dagster/will_retry": "false"})
            assert len(services.all_logs(run_id)) == before + 1
