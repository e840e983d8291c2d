"""Attack by accident: a second machine with the same name and repository, which would delete what it does not know."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from backup.errors import BackupError
from backup.file_backup import Files
from backup.programs import Done
from backup.settings import Places, Settings

from backup import owner


class Repository:
    """Keeps snapshots and what was called."""

    def __init__(self) -> None:
        self.snapshots: list[dict[str, Any]] = []
        self.calls: list[str] = []

    def __call__(self, args: Sequence[str], *, environment: Mapping[str, str] | None = None, stdin: str = "") -> Done:
        verb = next(word for word in args if word in ("snapshots", "backup", "unlock"))
        self.calls.append(verb)
        if verb == "snapshots":
            return Done(0, json.dumps(self.snapshots), "")
        if verb == "backup":
            tags = [args[number + 1] for number, word in enumerate(args) if word == "--tag"]
            made = f"snapshot{len(self.snapshots)}"
            self.snapshots.append({"id": made, "time": f"2026-11-21T12:00:{len(self.snapshots):02d}Z", "tags": tags})
            return Done(0, json.dumps({"message_type": "summary", "snapshot_id": made}), "")
        return Done(0, "", "")


@pytest.fixture
def repository() -> Repository:
    return Repository()


def machine(tmp_path: Path, name: str, *, restored_from: str = "") -> Settings:
    places = Places(secrets=tmp_path / name)
    places.secrets.mkdir()
    places.owner.write_text("\n".join(filter(None, (f"secret of {name}", restored_from))) + "\n")
    return Settings("prod", places=places)


def require(settings: Settings, repository: Repository, *, take_over: bool = False) -> None:
    owner.require(settings, Files(settings, repository), take_over=take_over)


def test_an_empty_repository_becomes_the_first_machines(tmp_path: Path, repository: Repository) -> None:
    first = machine(tmp_path, "first")
    require(first, repository)
    found = owner.of(repository.snapshots)
    assert found is not None
    assert found.fingerprint == owner.fingerprint("secret of first")
    # The secret itself is nowhere.
    assert "secret of" not in json.dumps(repository.snapshots)
    repository.calls.clear()
    require(first, repository)
    assert repository.calls == ["snapshots", "unlock"]


def test_a_second_machine_is_refused_and_touches_no_lock(tmp_path: Path, repository: Repository) -> None:
    require(machine(tmp_path, "first"), repository)
    repository.calls.clear()
    with pytest.raises(BackupError, match="belongs to another machine") as caught:
        require(machine(tmp_path, "second"), repository)
    assert repository.calls == ["snapshots"]
    assert "--take-over" in caught.value.do


def test_taken_over_the_first_one_is_refused_from_then_on(tmp_path: Path, repository: Repository) -> None:
    first, second = machine(tmp_path, "first"), machine(tmp_path, "second")
    require(first, repository)
    require(second, repository, take_over=True)
    require(second, repository)
    with pytest.raises(BackupError, match="belongs to another machine"):
        require(first, repository)


def test_a_restored_machine_inherits_from_the_one_that_is_gone_alone(tmp_path: Path, repository: Repository) -> None:
    require(machine(tmp_path, "first"), repository)
    gone = owner.fingerprint("secret of first")
    require(machine(tmp_path, "restored", restored_from=gone), repository)
    with pytest.raises(BackupError, match="belongs to another machine"):
        require(machine(tmp_path, "late", restored_from=gone), repository)


def test_without_its_secret_it_is_nobody(tmp_path: Path, repository: Repository) -> None:
    nobody = Settings("prod", places=Places(secrets=tmp_path))
    with pytest.raises(BackupError, match="backup_owner is not there"):
        require(nobody, repository)
