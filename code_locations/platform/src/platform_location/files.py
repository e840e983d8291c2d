"""Files in a folder that its owner may change at any moment, and try to lead us out of.

A location owns its lake's folder and its logs. It may put a link to another's there, also between our look and our
step. So each part of a path is opened by itself, from the folder that holds it, and no link is followed: nothing here
can reach anything outside the folder, whatever is in it.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Deeper than any log or table. Each level holds a descriptor open, of which a process has a thousand.
DEEPEST = 32


class UnsafePathError(ValueError):
    """A path that is none of a file below the folder."""


@dataclass
class Pruned:
    """What was deleted, and what could not be."""

    files: int = 0
    bytes: int = 0
    left: list[str] = field(default_factory=list)


def parts_of(path: str) -> tuple[str, ...]:
    """The parts of a relative path. Raises `UnsafePathError` for whatever could lead elsewhere."""
    parts = tuple(path.split("/"))
    if any(part in ("", ".", "..") or "\0" in part for part in parts) or len(parts) > DEEPEST:
        raise UnsafePathError(f"{path!r:.200} is no path of a file below the folder")
    return parts


@contextmanager
def opened(root: Path, parts: Sequence[str] = (), *, make: bool = False) -> Iterator[int]:
    """A descriptor of a folder below `root`, which is trusted itself. `make` makes the folders that are missing."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=folder)
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def open_to_read(root: Path, parts: Sequence[str]) -> int:
    """A descriptor of a regular file."""
    with opened(root, parts[:-1]) as folder:
        # A pipe would hold its reader for ever.
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UnsafePathError(f"{'/'.join(parts)} is no regular file")
    return file


def open_to_create(root: Path, parts: Sequence[str]) -> int:
    """A descriptor of a file that was not there."""
    with opened(root, parts[:-1], make=True) as folder:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(parts[-1], flags, 0o644, dir_fd=folder)


def status(root: Path, parts: Sequence[str]) -> os.stat_result | None:
    """Size and times of a regular file; None when there is none."""
    try:
        with opened(root, parts[:-1]) as folder:
            found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def delete(root: Path, parts: Sequence[str]) -> None:
    """Delete a file, or a link and never what it leads to; one that is gone already is no error."""
    try:
        with opened(root, parts[:-1]) as folder:
            os.unlink(parts[-1], dir_fd=folder)
    except FileNotFoundError:
        pass


def walk(root: Path) -> Iterator[tuple[tuple[str, ...], os.stat_result]]:
    """All regular files below `root`."""
    with opened(root) as folder:
        yield from _walk(folder, ())


def _walk(folder: int, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], os.stat_result]]:
    for name in sorted(os.listdir(folder)):
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield (*above, name), found
            elif stat.S_ISDIR(found.st_mode) and len(above) < DEEPEST:
                inner = os.open(name, _FOLDER, dir_fd=folder)
                try:
                    yield from _walk(inner, (*above, name))
                finally:
                    os.close(inner)
        except OSError:  # gone meanwhile, made a link, or closed to us by its owner: none of it is for us
            continue


def prune(root: Path, older_than: float, keep: Callable[[str], bool], *, dry_run: bool) -> Pruned:
    """Delete what was last changed before `older_than` (seconds since 1970), and folders that hold nothing then.

    `keep` says of an entry of `root` whether it is left alone whatever its age.
    """
    pruned = Pruned()
    with opened(root) as folder:
        for name in sorted(os.listdir(folder)):
            if not keep(name):
                _prune(folder, (name,), older_than, pruned, dry_run=dry_run)
    return pruned


def _prune(folder: int, parts: tuple[str, ...], older_than: float, pruned: Pruned, *, dry_run: bool) -> None:
    name = parts[-1]
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        old = found.st_mtime < older_than
        if not stat.S_ISDIR(found.st_mode):
            if old:
                if not dry_run:
                    os.unlink(name, dir_fd=folder)
                pruned.files += 1
                # What has another name still takes its room.
                pruned.bytes += found.st_size if found.st_nlink == 1 else 0
            return
        if len(parts) > DEEPEST:
            raise OSError(0, "deeper than any log")
        inner = os.open(name, _FOLDER, dir_fd=folder)
        try:
            for entry in sorted(os.listdir(inner)):
                _prune(inner, (*parts, entry), older_than, pruned, dry_run=dry_run)
            empty = old and not dry_run and not os.listdir(inner)
        finally:
            os.close(inner)
        if empty:
            os.rmdir(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except OSError as error:
        pruned.left.append(f"{'/'.join(parts)!r:.200}: {error.strerror}")
