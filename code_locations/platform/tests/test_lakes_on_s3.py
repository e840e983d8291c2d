"""Lakes on S3: each is kept with its owner's key, by a DuckDB that opens nothing but that lake's prefix."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from platform_location import bucket_files, compaction, deployment
from platform_location.clones import Clones

from platform_kit import environment

PREFIX = "s3://lakes/prod/ingestion/"
BUCKET = {
    "LAKE_S3_BUCKET": "lakes",
    "LAKE_S3_PREFIX": "prod",
    "LAKE_S3_ENDPOINT": "127.0.0.1:1",
    "LAKE_S3_REGION": "eu-central-1",
    "LAKE_S3_KEY": "id-of-platform",
    "LAKE_S3_KEY_SECRET": "secret-of-platform",
}


@pytest.fixture
def on_s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The settings of deploy/overlays/s3-lake.yml; the folder with the owners' keys."""
    for name, value in {**BUCKET, "SECRETS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "ingestion_s3_key").write_text("id-of-ingestion\n")
    (tmp_path / "ingestion_s3_key_secret").write_text("secret-of-ingestion\n")
    return tmp_path


def test_without_settings_lakes_are_in_folders() -> None:
    assert deployment.bucket_of("ingestion") is None


def test_another_lake_is_kept_with_its_owners_key(on_s3: Path) -> None:
    bucket, own = deployment.bucket_of("ingestion"), deployment.bucket_of("platform")
    assert bucket is not None
    assert own is not None
    assert (bucket.key.reveal(), bucket.key_secret.reveal()) == ("id-of-ingestion", "secret-of-ingestion")
    assert own.key.reveal() == "id-of-platform"


def test_a_key_that_is_missing_is_named(on_s3: Path) -> None:
    with pytest.raises(environment.SettingError, match="the secret analytics_s3_key cannot be read"):
        deployment.bucket_of("analytics")


@pytest.mark.parametrize(
    "place",
    [
        "s3://lakes/prod/analytics/secret.txt",
        "s3://lakes/prod/ingestion2/secret.txt",
        "s3://another/prod/ingestion/secret.txt",
        "https://169.254.169.254/latest/meta-data/",
        "/run/secrets/database_password",
        "/etc/passwd",
    ],
)
def test_whatever_a_catalog_names_only_its_own_prefix_is_opened(on_s3: Path, place: str) -> None:
    bucket = deployment.bucket_of("ingestion")
    assert bucket is not None
    with duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}) as session:
        compaction.remember_bucket(session, bucket)
        compaction._confine(session, PREFIX)
        session.execute("SET lock_configuration = true")
        for statement in (f"FROM read_text('{place}')", f"COPY (SELECT 1) TO '{place}'"):
            with pytest.raises(duckdb.PermissionException, match="disabled by configuration"):
                session.execute(statement)
        # What is below the prefix is asked for, where nobody answers here.
        with pytest.raises(duckdb.IOException, match=r"127\.0\.0\.1:1"):
            session.execute(f"FROM read_text('{PREFIX}raw/a.txt')")
        for setting in ("enable_external_access = true", "allowed_directories = ['/']"):
            with pytest.raises(duckdb.Error):
                session.execute(f"SET {setting}")


def test_orphans_stay_while_there_is_a_clone(on_s3: Path) -> None:
    found = bucket_files.delete_orphans("ingestion", 7, Clones(("backup",), datetime.now(UTC)), dry_run=False)
    assert (found.files, found.held) == (0, ["orphans, while there is a clone: backup"])


def test_orphans_stay_while_somebodys_own_file_is_among_them(on_s3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = f"{PREFIX}raw/flights/ducklake-01a1feb2-0000-7000-8000-000000000000.parquet"
    found, asked = [ours, f"{PREFIX}mine.parquet"], []

    def call(location: str, function: str, before: datetime, *, dry_run: bool) -> list[str]:
        asked.append(dry_run)
        return found

    monkeypatch.setattr(bucket_files, "_call", call)
    held = bucket_files.delete_orphans("ingestion", 7, Clones((), None), dry_run=False)
    assert held.files == 0
    assert "mine.parquet" in held.held[0]
    assert asked == [True]
    found.pop()
    assert bucket_files.delete_orphans("ingestion", 7, Clones((), None), dry_run=False).files == 1
    assert asked == [True, True, False]
