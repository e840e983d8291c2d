"""No room is told before anything is written."""

import shutil
from collections import namedtuple
from datetime import UTC, datetime
from pathlib import Path

import pytest
from backup.database_backup import Copy
from backup.errors import BackupError
from backup.settings import S3, Places, Settings

from backup import room

MIB = 1024**2
Usage = namedtuple("Usage", "total used free")
FULL = Copy("a", "full", datetime(2026, 11, 21, tzinfo=UTC), 900 * MIB, 300 * MIB)


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    (tmp_path / "lake" / "eta").mkdir(parents=True)
    (tmp_path / "lake" / "eta" / "file").write_bytes(b"x" * 10 * MIB)
    return Settings("prod", places=Places(lakes=tmp_path / "lake", audit=tmp_path / "audit", repository=tmp_path))


def free(monkeypatch: pytest.MonkeyPatch, mib: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, mib * MIB))


@pytest.mark.parametrize(
    ("kind", "copies", "first", "needed"),
    [
        # The least, and what the last full copy took; a third of the database where there was none; all files at first.
        ("incremental", [FULL], False, 64),
        ("full", [FULL], False, 364),
        ("incremental", [], False, 164),
        ("full", [], True, 174),
    ],
)
def test_what_is_needed(
    here: Settings, monkeypatch: pytest.MonkeyPatch, kind: str, copies: list[Copy], first: bool, needed: int
) -> None:
    free(monkeypatch, needed)
    room.require(here, kind, copies, 300 * MIB, first=first)
    free(monkeypatch, needed - 1)
    with pytest.raises(BackupError, match=f"{needed - 1} MiB are free where the backups go") as caught:
        room.require(here, kind, copies, 300 * MIB, first=first)
    assert f"{needed} MiB" in caught.value.expected


def test_a_bucket_has_room(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 0)
    room.require(Settings("prod", S3("s3", "b", "r"), places=here.places), "full", [FULL], 1, first=True)
