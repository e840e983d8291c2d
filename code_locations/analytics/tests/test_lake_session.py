"""What dbt's DuckDB sessions are given, and what they cannot do."""

from pathlib import Path
from typing import Any

import duckdb
import pytest
from analytics import lake_session, project
from dbt.adapters.duckdb.credentials import DuckDBCredentials

from platform_kit.environment import PostgresCatalog, Secret


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("memory.max", "1073741824\n", 1 << 30),
        ("memory/memory.limit_in_bytes", "536870912\n", 1 << 29),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
    ],
)
def test_memory_is_the_containers_not_the_machines(
    tmp_path: Path, file: str, content: str, expected: int | None
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(content, encoding="ascii")
    machine = lake_session.memory_bytes(tmp_path / "nothing")
    assert lake_session.memory_bytes(tmp_path) == min(expected or machine, machine)


@pytest.mark.parametrize("password", ["plain", "it's", "back\\slash", "'); attach 'x' as y; --"])
def test_any_password_stays_inside_the_secret(password: str) -> None:
    catalog = PostgresCatalog("db", 5432, "lake_analytics", "analytics", Secret(password))
    with duckdb.connect() as connection:
        connection.execute(f"load '{lake_session.extension_file('postgres_scanner')}'")
        connection.execute(lake_session.secret("catalog_analytics", catalog))
        names = connection.execute("select name, secret_string from duckdb_secrets()").fetchall()
    assert [name for name, _ in names] == ["catalog_analytics"]
    assert "password=redacted" in names[0][1]


def session(root: Path) -> duckdb.DuckDBPyConnection:
    """What dbt-duckdb does with the profile's local target."""
    credentials = DuckDBCredentials.from_dict(profile(root))
    plugin = lake_session.Plugin("lake_session", {}, credentials)
    config: dict[str, Any] = {}
    plugin.update_connection_config(credentials, config)
    connection = duckdb.connect(credentials.path, config=config)
    plugin.configure_connection(connection)
    for attachment in credentials.attach or []:
        connection.execute(attachment.to_sql())
    return connection


def profile(root: Path) -> dict[str, Any]:
    import yaml

    text = (project.DIRECTORY / "profiles.yml").read_text(encoding="utf-8").replace("{{ var('lake_root') }}", str(root))
    local: dict[str, Any] = yaml.safe_load(text)["analytics"]["outputs"]["local"]
    return {key: value for key, value in local.items() if key not in ("type", "threads")}


@pytest.mark.parametrize(
    "statement",
    [
        "delete from {raw}.flights",
        "drop table {raw}.airlines",
        "create table {raw}.mine (a int)",
        "create schema ingestion.x",
    ],
)
def test_the_lake_of_ingestion_is_read_and_never_written(lake: Any, lake_root: Path, statement: str) -> None:
    with session(lake_root) as connection:
        assert connection.execute("select count(*) from ingestion.ada_l_raw.planes").fetchall() == [(3_322,)]
        with pytest.raises(duckdb.Error, match="read-only"):
            connection.execute(statement.format(raw="ingestion.ada_l_raw"))


def test_a_session_is_bounded_fetches_no_extension_and_spills_to_the_lakes_disk(lake: Any, lake_root: Path) -> None:
    with session(lake_root) as connection:
        values = dict(connection.execute("select name, value from duckdb_settings()").fetchall())
    assert values["autoinstall_known_extensions"] == values["autoload_known_extensions"] == "false"
    assert values["temp_directory"] == str(lake_root / "analytics" / ".spill")
    assert values["memory_limit"] != "", "bounded"


@pytest.mark.parametrize("target", ["prod", "branch", "local"])
def test_every_target_attaches_ingestion_read_only(target: str) -> None:
    import yaml

    text = (project.DIRECTORY / "profiles.yml").read_text(encoding="utf-8")
    output = yaml.safe_load(text)["analytics"]["outputs"][target]
    assert {attachment["alias"]: attachment.get("read_only", False) for attachment in output["attach"]} == {
        "analytics": False,
        "ingestion": True,
    }


BUCKET = {
    "LAKE_S3_BUCKET": "lakes",
    "LAKE_S3_PREFIX": "prod",
    "LAKE_S3_ENDPOINT": "s3.example.org",
    "LAKE_S3_REGION": "eu-central-1",
    "LAKE_S3_KEY": "id",
    "LAKE_S3_KEY_SECRET": "it's; --",
}


@pytest.fixture
def on_s3(monkeypatch: pytest.MonkeyPatch) -> DuckDBCredentials:
    """The profile of production, where settings put the lakes on S3."""
    import yaml

    for name, value in {**BUCKET, "DEPLOYMENT": "prod"}.items():
        monkeypatch.setenv(name, value)
    text = (project.DIRECTORY / "profiles.yml").read_text(encoding="utf-8")
    output = yaml.safe_load(text)["analytics"]["outputs"]["prod"]
    return DuckDBCredentials.from_dict({key: output[key] for key in output if key not in ("type", "threads")})


def test_tables_go_where_the_settings_say_and_not_where_the_profile_says(on_s3: DuckDBCredentials) -> None:
    lake_session.Plugin("lake_session", {}, on_s3).update_connection_config(on_s3, {})
    paths = {one.alias: (one.options or {}).get("data_path") for one in on_s3.attach or []}
    assert paths == {"analytics": "s3://lakes/prod/analytics/", "ingestion": None}


def test_a_session_on_s3_checks_certificates_and_keeps_its_key_to_the_bucket(on_s3: DuckDBCredentials) -> None:
    from platform_kit.environment import lake_bucket

    bucket = lake_bucket()
    assert bucket is not None
    with duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}) as session:
        for statement in lake_session.reach(bucket):
            session.execute(statement)
        names = "('enable_server_cert_verification', 'enable_curl_server_cert_verification')"
        values = session.execute(f"select value from duckdb_settings() where name in {names}").fetchall()
        secrets = session.execute("select name, scope, secret_string from duckdb_secrets()").fetchall()
    assert values == [("true",), ("true",)]
    assert [(name, scope) for name, scope, _ in secrets] == [("lake_bucket", ["s3://lakes/prod/"])]
    assert "secret=redacted" in secrets[0][2]


def test_without_settings_the_profile_holds(lake_root: Path) -> None:
    credentials = DuckDBCredentials.from_dict(profile(lake_root))
    lake_session.Plugin("lake_session", {}, credentials).update_connection_config(credentials, {})
    (own,) = [one for one in credentials.attach or [] if one.alias == "analytics"]
    assert (own.options or {})["data_path"] == f"{lake_root}/analytics"
