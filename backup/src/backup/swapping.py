"""Staged data takes the place of what is there: renames, each of which can be repeated after an interrupt.

In each volume: `.restored` is staged and whole; `.before-restore` is what was there; `.restored-moving` says that the
old is away and the new is on its way. For the database's volume the same with `data`.
"""

import os
import shutil
from pathlib import Path

from backup.settings import Places

STAGED, MOVING, BEFORE = ".restored", ".restored-moving", ".before-restore"
UNDER_WAY, UPGRADING = "restore-under-way", "upgrade-under-way"
UPGRADES = ("data.before-upgrade*", "data.upgraded*", "data.failed", "upgrade-sockets", "upgrade-dump*")
DATA_STAGED, DATA_BEFORE = "data.restored", "data.before-restore"


def folders(places: Places) -> list[Path]:
    """The volumes with files: each lake's, and the audit log's."""
    lakes = [path for path in sorted(places.lakes.iterdir()) if path.is_dir()] if places.lakes.is_dir() else []
    return [*lakes, *([places.audit] if places.audit.is_dir() else [])]


def occupied(places: Places) -> list[str]:
    """The volumes that hold data."""
    held = [f"lake-{path.name}" for path in folders(places) if path != places.audit and _entries(path)]
    return [*(["postgres"] if places.data.exists() else []), *held]


def discard(places: Places) -> None:
    """Takes away what was staged."""
    discard_database(places)
    for folder in folders(places):
        discard_in(folder)


def discard_database(places: Places) -> None:
    """Takes away a staged cluster."""
    shutil.rmtree(places.postgres / DATA_STAGED, ignore_errors=True)


def discard_in(folder: Path) -> None:
    """Takes away what was staged in one volume. Whoever puts a link in its way meanwhile loses the link: rmtree opens
    each folder without following one."""
    _without_links(folder)
    shutil.rmtree(folder / STAGED, ignore_errors=True)


def swap(places: Places) -> None:
    """Old away, new in its place. Nothing is deleted yet."""
    # While it is there, no server starts on half of it.
    (places.postgres / UNDER_WAY).touch()
    for folder in folders(places):
        _without_links(folder)
        _swap_entries(folder)
    staged = places.postgres / DATA_STAGED
    if staged.exists():
        if places.data.exists():
            before = places.postgres / DATA_BEFORE
            # Of an earlier restore that nobody ended.
            shutil.rmtree(before, ignore_errors=True)
            places.data.rename(before)
        staged.rename(places.data)
    _sync(places.postgres)
    # Nor is there an upgrade any more that could be undone: a later one must not find this one's way back.
    for pattern in UPGRADES:
        for left in places.postgres.glob(pattern):
            _remove(left)
    (places.postgres / UPGRADING).unlink(missing_ok=True)
    (places.postgres / UNDER_WAY).unlink()


def finish(places: Places) -> None:
    """Deletes what was there before."""
    shutil.rmtree(places.postgres / DATA_BEFORE, ignore_errors=True)
    for folder in folders(places):
        shutil.rmtree(folder / BEFORE, ignore_errors=True)


def _swap_entries(folder: Path) -> None:
    staged, moving, before = folder / STAGED, folder / MOVING, folder / BEFORE
    if staged.is_dir():
        before.mkdir(exist_ok=True)
        for entry in _entries(folder):
            target = before / entry.name
            if target.exists():
                _remove(target)
            entry.rename(target)
        _sync(folder)
        staged.rename(moving)
    if moving.is_dir():
        for entry in sorted(moving.iterdir()):
            entry.rename(folder / entry.name)
        moving.rmdir()
        _sync(folder)


def _without_links(folder: Path) -> None:
    """A location writes in its lake: under one of our names a link of its own would lead into another volume."""
    for name in (STAGED, MOVING, BEFORE):
        if (folder / name).is_symlink():
            (folder / name).unlink()


def _entries(folder: Path) -> list[Path]:
    return [entry for entry in sorted(folder.iterdir()) if entry.name not in (STAGED, MOVING, BEFORE)]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
