"""While an upgrade may still be undone, nothing of it reaches the repository; afterwards the repository follows it."""

import io
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from backup.__main__ import main
from backup.database_backup import Database
from backup.errors import BackupError
from backup.programs import Done
from backup.settings import Places, Settings

from backup import health, serving

SCRIPT = Path(__file__).resolve().parents[2] / "postgres" / "pgbackrest-repository"


def test_a_former_count_comes_by_stdin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As an argument, that of many tables is longer than the system takes."""
    former = {"history": {}, "lakes": [{"database": "lake_x", "snapshot": 1, "tables": {"t" * 60: 1}}] * 3000}
    seen = []
    monkeypatch.setattr("backup.counting.count", lambda _, since: seen.append(since))
    monkeypatch.setattr(
        "backup.settings.load", lambda: Settings("prod", places=Places(work=tmp_path, postgres=tmp_path))
    )
    for text, call in ((json.dumps(former), ["count", "--since"]), ("", ["count"])):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert main(call) == 0
    assert seen == [former, None]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "upgrade-under-way").touch()
    return Places(work=tmp_path, postgres=tmp_path)


def test_the_log_stays_with_the_server(places: Places) -> None:
    """Pushed and then undone, the same piece would be written once more with other content, and refused for good."""
    environment = {"PATH": os.environ["PATH"], "PGDATA": str(places.data), "BACKUP_NAME": "prod"}
    push = ["sh", str(SCRIPT), "archive-push", "pg_wal/000000010000000000000001"]
    done = subprocess.run(push, env=environment, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (1, "pgbackrest-repository: waits for the end of an upgrade\n")
    (places.postgres / "upgrade-under-way").unlink()
    done = subprocess.run(push, env=environment, capture_output=True, text=True, timeout=20)
    assert "waits" not in done.stderr


def test_the_service_begins_nothing(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared: list[Settings] = []
    monkeypatch.setattr(serving, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(serving, "_prepare", lambda settings: prepared.append(settings) or False)
    monkeypatch.setattr(serving, "_work", lambda *_: None)
    settings = Settings("prod", places=places)
    serving.serve(settings, lambda _: None, times=2)
    assert prepared == []
    assert health.healthy(places.work)
    (places.postgres / "upgrade-under-way").unlink()
    serving.serve(settings, lambda _: None, times=1)
    assert prepared == [settings]


def test_the_repository_follows_the_new_cluster() -> None:
    calls: list[list[str]] = []

    def programs(args: Sequence[str], *, environment: Mapping[str, str] | None = None, stdin: str = "") -> Done:
        calls.append(list(args))
        return Done(0, "", "")

    Database(programs).follow()
    assert calls == [["pgbackrest-repository", "stanza-upgrade"]]

    def failing(*_: object, **__: object) -> Done:
        return Done(56, "", "ERROR: [056]: unable to find primary cluster")

    with pytest.raises(BackupError, match="unable to find primary cluster"):
        Database(failing).follow()
