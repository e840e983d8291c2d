"""Every test runs LOCAL, in code location `ingestion`, on a lake of its own in a temporary folder."""

from pathlib import Path

import pytest

from platform_kit.lake import LakeResource

_SETTINGS = ("DEPLOYMENT", "CODE_LOCATION", "DEVELOPER", "LAKE_ROOT", "POSTGRES_HOST", "POSTGRES_PORT")
_MORE_SETTINGS = ("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE", "LAKE_S3_BUCKET")


@pytest.fixture(autouse=True)
def lake_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in (*_SETTINGS, *_MORE_SETTINGS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CODE_LOCATION", "ingestion")
    monkeypatch.setenv("DEVELOPER", "ada")
    monkeypatch.setenv("LAKE_ROOT", str(tmp_path / "lake"))
    return tmp_path / "lake"


@pytest.fixture
def lake() -> LakeResource:
    return LakeResource()
