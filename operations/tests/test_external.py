"""A database and buckets elsewhere: what is half set is told at once, and nothing there is ever deleted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from operations import external, prepare
from operations.branches import lakes
from operations.errors import StackError
from operations.testing import object_store
from operations.testing.object_store import ObjectStore
from operations.tests.fakes import Machine
from operations.verbs import down

LAKES = {"LAKE_S3_ENDPOINT": "127.0.0.1:1", "LAKE_S3_BUCKET": "lakes", "LAKE_S3_PREFIX": "prod"}
LOGS = {"LOGS_S3_ENDPOINT": "127.0.0.1:1", "LOGS_S3_BUCKET": "logs", "LOGS_S3_PREFIX": "prod"}
FILES = (
    *("ingestion_s3_key", "ingestion_s3_key_secret", "lake_s3_authority"),
    *("logs_s3_key", "logs_s3_key_secret", "logs_s3_authority", "postgres_authority"),
)


@pytest.fixture
def elsewhere(machine: Machine) -> Machine:
    """A deployment with everything elsewhere, and all of it set."""
    machine.tools_are_there()
    settings(machine)
    (machine.root / "secrets").mkdir()
    for name in FILES:
        (machine.root / "secrets" / name).write_text("" if name.endswith("s3_authority") else "something")
    lock = machine.root / "code_locations/ingestion/requirements.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.write_text("duckdb==1.5.5\nduckdb-extension-httpfs==1.5.5 \\\n")
    tell(machine)
    return machine


def settings(machine: Machine, **changes: str) -> None:
    values = {"BACKUPS": "off", "POSTGRES_HOST": "db.example.org", "POSTGRES_PORT": "5432", **changes}
    path = machine.made_env()
    for file in (machine.root / ".env.example", path):
        plain = file.read_text().partition("\n# Elsewhere.")[0]
        file.write_text(plain + "\n# Elsewhere.\n" + "".join(f"{key}={value}\n" for key, value in values.items()))


def tell(machine: Machine, lakes: dict[str, str] | None = None, logs: dict[str, str] | None = None) -> None:
    services: dict[str, Any] = {
        "migrate": {
            "environment": {"POSTGRES_HOST": "db.example.org", "PGSSLROOTCERT": "/run/secrets/postgres_authority"}
        },
        "ingestion": {"labels": {"code-location": "ingestion"}, "environment": LAKES if lakes is None else lakes},
        "webserver": {"environment": LOGS if logs is None else logs},
    }
    secrets = {name: {"file": str(machine.root / "secrets" / name)} for name in FILES}
    machine.executor.forget("config", "--format", "json")
    config = json.dumps({"services": services, "secrets": secrets})
    machine.executor.answer("config", "--format", "json", stdout=config)


def told(machine: Machine) -> list[str]:
    return [f"{one.subject}: {one.what}" for one in external.findings(machine.context())]


def test_what_is_whole_is_no_finding(elsewhere: Machine) -> None:
    assert told(elsewhere) == []


def test_a_plain_deployment_is_asked_nothing(machine: Machine) -> None:
    machine.executor.answer("config", "--format", "json", stdout=json.dumps({"services": {"postgres": {}}}))
    assert external.findings(machine.context()) == []
    assert list(external.unreachable(machine.context())) == []
    assert external.kept(machine.context()) == []


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("ingestion_s3_key", "bucket of the lakes: empty in secrets: ingestion_s3_key"),
        ("ingestion_s3_key_secret", "bucket of the lakes: empty in secrets: ingestion_s3_key_secret"),
        ("logs_s3_key", "bucket of the logs: empty in secrets: logs_s3_key"),
        ("postgres_authority", "database: secrets/postgres_authority is empty, and the database is elsewhere"),
    ],
)
def test_a_secret_that_nobody_filled_is_named(elsewhere: Machine, file: str, message: str) -> None:
    (elsewhere.root / "secrets" / file).write_text("\n")
    assert told(elsewhere) == [message]


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("BACKUPS", "on", "database: BACKUPS is 'on' in .env, and the database is elsewhere"),
        ("POSTGRES_HOST", "postgres", "database: POSTGRES_HOST is the bundled server's in .env"),
    ],
)
def test_a_setting_that_contradicts_the_overlay_is_named(
    elsewhere: Machine, setting: str, value: str, message: str
) -> None:
    settings(elsewhere, **{setting: value})
    assert told(elsewhere) == [message]


def test_a_location_whose_image_lacks_the_extension_is_named(elsewhere: Machine) -> None:
    (elsewhere.root / "code_locations/ingestion/requirements.lock").write_text("duckdb==1.5.5\n")
    (found,) = external.findings(elsewhere.context())
    assert found.what.startswith("code_locations/ingestion/requirements.lock has no duckdb-extension-httpfs")
    assert "./stack library release --version 0.4.0 --into ingestion" in found.do


def test_down_deletes_nothing_elsewhere_and_says_so(elsewhere: Machine) -> None:
    down.down(elsewhere.context(), delete_data=True)
    said = elsewhere.out.getvalue()
    for kept in (
        "s3://lakes/prod/, the lakes",
        "s3://logs/prod/, the logs",
        "the databases dagster and lake_* and their roles on db.example.org:5432",
    ):
        assert f"Left alone, for it is not this machine's: {kept}." in " ".join(said.split())
    assert "Nothing of prod is left here." in said


RIGHTS = {"operator": ["Admin", "Read", "Write", "List"]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with object_store.running(tmp_path_factory.mktemp("s3"), "127.0.0.1", RIGHTS) as server:
        object_store.empty(server, "lakes")
        yield server


def trouble(machine: Machine, **changes: str) -> str:
    tell(machine, {**LAKES, **changes}, {})
    return "; ".join(one.what for one in external.unreachable(machine.context()))


def test_a_bucket_that_answers_is_no_finding(elsewhere: Machine, store: ObjectStore) -> None:
    (elsewhere.root / "secrets/lake_s3_authority").write_text(store.authority.read_text())
    assert trouble(elsewhere, LAKE_S3_ENDPOINT=store.endpoint) == ""


def test_a_bucket_that_does_not_answer_is_one_finding(elsewhere: Machine, store: ObjectStore, tmp_path: Path) -> None:
    authority = elsewhere.root / "secrets/lake_s3_authority"
    assert "certificate verify failed" in trouble(elsewhere, LAKE_S3_ENDPOINT=store.endpoint)
    object_store.certificates(tmp_path, "127.0.0.1")
    authority.write_text((tmp_path / "authority.pem").read_text())
    assert "certificate verify failed" in trouble(elsewhere, LAKE_S3_ENDPOINT=store.endpoint)
    authority.write_text("no certificate")
    assert trouble(elsewhere, LAKE_S3_ENDPOINT=store.endpoint).startswith("lakes at ")
    authority.write_text(store.authority.read_text())
    assert "Connection refused" in trouble(elsewhere, LAKE_S3_ENDPOINT="127.0.0.1:1")


def test_up_refuses_before_anything_is_built(elsewhere: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    from operations.verbs import up

    (elsewhere.root / "secrets/ingestion_s3_key").write_text("")
    with pytest.raises(StackError, match="empty in secrets: ingestion_s3_key"):
        up.up(elsewhere.context())
    assert elsewhere.executor.ran("build") == []


def test_a_branch_of_lakes_on_s3_is_refused(elsewhere: Machine) -> None:
    with pytest.raises(StackError, match="the lakes of prod are in the bucket lakes") as refused:
        lakes.require_files(elsewhere.context(), "prod-postgres-1", [])
    assert "it gets no key of production's" in refused.value.expected


def test_keys_and_authorities_are_made_empty_for_somebody_to_fill(elsewhere: Machine) -> None:
    for name in FILES:
        (elsewhere.root / "secrets" / name).unlink()
    prepare.make_secrets(elsewhere.context())
    assert [(elsewhere.root / "secrets" / name).read_text() for name in FILES] == [""] * len(FILES)
