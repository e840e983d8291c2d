"""What the role of a maintainer may do, and what neither it nor anybody else can: attacks on a real server."""

import psycopg2
import pytest
from migrate.guard import guard_runs
from provisioning.mending import provide_mending
from provisioning.plan import make_plan
from psycopg2.sql import Composed

from .conftest import Server

REFUSED = (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.FeatureNotSupported, psycopg2.OperationalError)
ESCALATIONS = {
    "become a superuser": "ALTER ROLE platform SUPERUSER",
    "make roles": "CREATE ROLE intruder LOGIN SUPERUSER",
    "make databases": "CREATE DATABASE lake_intruder",
    "act as the superuser": "SET ROLE postgres",
    "act as the owner of Dagster's tables": "SET ROLE dagster_owner",
    "act as the services": "SET ROLE dagster",
    "act as a location": "SET ROLE ingestion",
    "be another session": "SET SESSION AUTHORIZATION postgres",
    "join a location": "GRANT ingestion TO platform",
    "let a location join": "GRANT platform TO ingestion",
    "set a location's password": "ALTER ROLE ingestion PASSWORD 'known'",
    "take a location's connections": "ALTER ROLE ingestion CONNECTION LIMIT 0",
    "take over the mending": "ALTER FUNCTION provisioning.mend(text) OWNER TO platform",
    "put something beside the mending": "CREATE TABLE provisioning.mine (a int)",
    "put something beside Dagster's tables": "CREATE TABLE public.mine (a int)",
    "have a temporary schema": "CREATE TEMPORARY TABLE mine (a int)",
    "forget clones": "DELETE FROM provisioning.lake_clones",
    "add runs": "INSERT INTO public.runs (run_id) VALUES ('mine')",
    "start backfills": "DELETE FROM public.bulk_actions",
    "switch schedules": "UPDATE public.instigators SET status = 'STOPPED'",
    "drop the guard": "DROP TRIGGER guard_run_deletes ON public.runs",
    "switch the guard off": "ALTER TABLE public.runs DISABLE TRIGGER guard_run_deletes",
    "delete what a run was made of": "DELETE FROM public.snapshots",
    "read password verifiers": "SELECT rolpassword FROM pg_authid",
    "read files": "SELECT pg_read_file('/etc/passwd')",
    "run programs": "COPY (SELECT 1) TO PROGRAM 'id'",
}


@pytest.mark.parametrize("statement", ESCALATIONS.values(), ids=ESCALATIONS.keys())
def test_the_maintainers_role_cannot(server: Server, statement: str) -> None:
    with pytest.raises(REFUSED):
        server.sql(statement, user="platform")


OTHERS = {
    "mend": "SELECT provisioning.mend('ingestion')",
    "see clones": "SELECT * FROM provisioning.lake_clones",
    "claim a clone": "INSERT INTO provisioning.lake_clones (lake, clone) VALUES ('lake_ingestion', 'mine')",
    "become the maintainer": "SET ROLE platform",
    "set the maintainer's password": "ALTER ROLE platform PASSWORD 'known'",
    "delete events": "DELETE FROM public.event_logs",
    "delete runs": "DELETE FROM public.runs",
    "delete results of checks": "DELETE FROM public.asset_check_executions",
}


@pytest.mark.parametrize("statement", OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.parametrize("location", ["ingestion", "analytics"])
def test_a_location_that_maintains_nothing_cannot(server: Server, location: str, statement: str) -> None:
    with pytest.raises(REFUSED):
        server.sql(statement, user=location)


@pytest.mark.parametrize("location", ["ingestion", "analytics"])
def test_nobody_but_its_owner_and_its_readers_enters_a_lake(server: Server, location: str) -> None:
    # The maintainer enters with the owner's password, as the owner.
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        server.sql("SELECT 1", user="platform", database=f"lake_{location}")
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        server.sql("SELECT 1", user=location, database="lake_platform")


@pytest.mark.parametrize(
    "name", ["postgres", "dagster", "ingestion'; ALTER ROLE platform SUPERUSER; --", "", "ingestion "]
)
def test_mending_knows_the_locations_of_the_plan_and_nothing_else(server: Server, name: str) -> None:
    connection = server.connect("platform")
    with connection.cursor() as cursor, pytest.raises(psycopg2.DataError, match="is no code location of the plan"):
        cursor.execute("SELECT provisioning.mend(%s)", (name,))
    connection.close()
    assert server.sql("SELECT rolname FROM pg_roles WHERE rolsuper") == [("postgres",)]


def test_a_record_of_a_run_that_goes_on_is_deleted_by_nobody_but_the_services(server: Server) -> None:
    for run, status in (("goes-on", "STARTED"), ("ended", "SUCCESS")):
        server.sql(f"INSERT INTO runs (run_id, status, run_body) VALUES ('{run}', '{status}', '{{}}')", user="dagster")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege, match="run goes-on is STARTED: only the record of a run"):
        server.sql("DELETE FROM runs WHERE run_id = 'goes-on'", user="platform")
    server.sql("DELETE FROM runs WHERE run_id = 'ended'", user="platform")
    server.sql("DELETE FROM runs WHERE run_id = 'goes-on'", user="dagster")
    assert server.sql("SELECT count(*) FROM runs WHERE run_id IN ('ended', 'goes-on')") == [(0,)]


def test_a_location_that_maintains_no_longer_loses_what_it_got(server: Server) -> None:
    reads = {"ingestion": [], "analytics": ["ingestion"], "platform": []}
    connection = server.connect()
    connection.autocommit = False
    asked = "SELECT has_function_privilege('platform', 'provisioning.mend(text)', 'EXECUTE')"
    with connection.cursor() as cursor:
        cursor.execute(asked)
        assert cursor.fetchall() == [(True,)]
        for statement in provide_mending(make_plan(reads), [], superuser=True):
            cursor.execute(statement)
        cursor.execute(asked)
        assert cursor.fetchall() == [(False,)]
    connection.rollback()
    connection.close()


def test_nothing_secret_is_in_what_the_database_keeps_of_the_plan(server: Server) -> None:
    ((body,),) = server.sql("SELECT prosrc FROM pg_proc WHERE proname = 'mend'")
    assert "password" not in body.lower()
    assert "SCRAM" not in body
    assert all(isinstance(statement, Composed) for statement in guard_runs([])[:2])
