"""Backups as this location asks for them: a row that says the kind alone, and what becomes of it."""

import threading
from collections.abc import Iterator

import dagster as dg
import psycopg2
import pytest
from platform_location import backups, database
from platform_location.defs.backups.deployment import CHECK, KEY, Backup, backup, copied, restorable

from .conftest import ROOT, Server

RESULT = '{"set": "20261121T120000Z", "kind": "full", "seconds": 1.5, "files": 7}'


@pytest.fixture
def asked(server: Server) -> Iterator[Server]:
    """A server without requests, before and after."""
    server.sql("DELETE FROM provisioning.backup_requests")
    yield server
    server.sql("DELETE FROM provisioning.backup_requests")


def answer(server: Server, statement: str) -> threading.Thread:
    """The service: ends the first request that comes."""

    def work() -> None:
        while not server.sql(f"UPDATE provisioning.backup_requests {statement} WHERE state = 'requested' RETURNING id"):
            pass

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def materialise(config: Backup) -> dg.ExecuteInProcessResult:
    run_config = {"ops": {"__".join(KEY): {"config": {"kind": config.kind, "verify": config.verify}}}}
    return dg.materialize([copied], run_config=run_config, raise_on_error=False)


def test_the_services_answer_is_the_assets_metadata(asked: Server) -> None:
    thread = answer(asked, f"SET state = 'done', ended_at = now(), result = '{RESULT}'")
    result = materialise(Backup(kind="full"))
    thread.join()
    assert result.success
    assert asked.sql("SELECT kind, verify, requested_by FROM provisioning.backup_requests") == [
        ("full", False, "platform")
    ]
    metadata = result.asset_materializations_for_node("__".join(KEY))[0].metadata
    assert (metadata["set"].value, metadata["files"].value) == ("20261121T120000Z", 7)


def test_what_the_service_could_not_do_fails_the_run_in_its_words(asked: Server) -> None:
    thread = answer(asked, "SET state = 'failed', error = 'the disk is full; do: free some'")
    result = materialise(Backup())
    thread.join()
    assert not result.success
    failure = result.failure_data_for_node("__".join(KEY))
    assert failure is not None
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == "the disk is full; do: free some"


def test_a_service_that_is_away_is_named(asked: Server) -> None:
    with database.dagster() as session:
        number = backups.ask(session, "incremental", verify=False)
        with pytest.raises(backups.BackupFailedError, match="does the service backup run"):
            backups.wait(session, number, taken_up=0.0, pause=0.01)


def test_a_request_behind_another_waits_for_its_turn(asked: Server) -> None:
    asked.sql("INSERT INTO provisioning.backup_requests (kind, state) VALUES ('full', 'running')")
    with database.dagster() as session:
        number = backups.ask(session, "incremental", verify=False)
        done = f"UPDATE provisioning.backup_requests SET state = 'done', result = '{RESULT}' WHERE id = {number}"
        timer = threading.Timer(0.3, lambda: asked.sql(done))
        timer.start()
        assert backups.wait(session, number, taken_up=0.0, pause=0.02)["files"] == 7


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE provisioning.backup_requests SET state = 'done'",
        "INSERT INTO provisioning.backup_requests (kind, state) VALUES ('full', 'done')",
        "INSERT INTO provisioning.backup_requests (kind, requested_by) VALUES ('full', 'dana')",
        "DELETE FROM provisioning.backup_requests",
    ],
)
def test_the_outcome_is_the_services_word_alone(asked: Server, statement: str) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        asked.sql(statement, user="platform")


def test_no_other_location_may_ask_or_look(asked: Server) -> None:
    for statement in (
        "INSERT INTO provisioning.backup_requests (kind) VALUES ('full')",
        "TABLE provisioning.backup_requests",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            asked.sql(statement, user="ingestion")


def test_a_kind_that_does_not_exist_is_refused(asked: Server) -> None:
    with pytest.raises(psycopg2.errors.CheckViolation):
        asked.sql("INSERT INTO provisioning.backup_requests (kind) VALUES ('half')", user="platform")


def checked() -> dg.AssetCheckResult:
    result = restorable()
    assert isinstance(result, dg.AssetCheckResult)
    return result


def test_the_check_tells_of_no_backup_and_of_an_old_one(asked: Server) -> None:
    assert checked().description == "there is no backup"
    ended = "INSERT INTO provisioning.backup_requests (kind, state, ended_at) VALUES ('full', 'done', {})"
    asked.sql(ended.format("now() - interval '3 days'"))
    assert checked().description == "the newest backup is 72 hours old"
    asked.sql(ended.format("now()"))
    assert checked().passed


def definitions(monkeypatch: pytest.MonkeyPatch, **values: str) -> dg.Definitions:
    for name, value in {"DEPLOYMENT_FILES": str(ROOT), "BACKUPS": "on", **values}.items():
        monkeypatch.setenv(name, value)
    return backup()


def test_two_schedules_of_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    made = definitions(monkeypatch, BACKUP_SCHEDULE="*/15 * * * *")
    schedules = {one.name: one for one in made.schedules or []}  # type: ignore[union-attr]
    assert schedules["backup_schedule"].cron_schedule == "*/15 * * * *"  # type: ignore[union-attr]
    assert {one.default_status.value for one in schedules.values()} == {"RUNNING"}  # type: ignore[union-attr]
    keys = made.resolve_asset_graph().materializable_asset_keys
    assert [key.path for key in keys] == [KEY]
    assert [key.name for key in made.resolve_asset_graph().asset_check_keys] == [CHECK]
    assert "back_up" in {job.name for job in made.resolve_all_job_defs()}


@pytest.mark.parametrize("values", [{"BACKUPS": "off"}, {"DEPLOYMENT_FILES": "/nowhere"}])
def test_without_backups_there_is_nothing(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    assert not definitions(monkeypatch, **values).assets


def test_on_a_branch_no_schedule_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    made = definitions(monkeypatch, DEPLOYMENT="branch-7")
    assert {one.default_status.value for one in made.schedules or []} == {"STOPPED"}  # type: ignore[union-attr]
