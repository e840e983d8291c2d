"""Reading files that somebody else may change at any moment: a code location owns its log directory."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

# Enough for a page of logs; a reader that wants more goes on from its cursor. Without a bound, one location's
# gigabytes would end the webserver of all.
LARGEST_READ = 16 * 1024 * 1024
# What a file system takes.
LONGEST_NAME = 255


class UnsafeLogKeyError(ValueError):
    """A log key that could name something else than a log."""


def check_parts(parts: Sequence[str], longest_last: int = LONGEST_NAME) -> None:
    """Raise `UnsafeLogKeyError` unless each part is the name of one file or folder."""
    if not parts:
        raise UnsafeLogKeyError("A log key has at least one part.")
    for index, part in enumerate(parts):
        longest = longest_last if index == len(parts) - 1 else LONGEST_NAME
        if (
            not isinstance(part, str)
            or part in ("", ".", "..")
            or any(character in "/\\" or not character.isprintable() for character in part)
            or len(part.encode("utf-8", "surrogatepass")) > longest
        ):
            raise UnsafeLogKeyError(f"{part!r:.80} cannot be a part of a log key.")


def confined(directory: Path, parts: Sequence[str]) -> Path:
    """The path of these parts below `directory`. No symbolic link below it may lead anywhere else."""
    base = directory.resolve()
    path = base.joinpath(*parts).resolve()
    if base not in path.parents:
        raise UnsafeLogKeyError("The log is not where logs are.")
    return path


def read_beneath(base: Path, path: Path, offset: int, limit: int | None) -> tuple[bytes | None, int]:
    """Part of a regular file below `base` and the offset after it; None when there is no such file.

    No link is followed: between the check of a path and its opening, its owner may have put a link to a secret there,
    or a pipe that would hold the reader for ever.
    """
    descriptor = _open_beneath(base, path.relative_to(base).parts)
    if descriptor is None:
        return None, offset
    # Asked first: a folder cannot be made a file, and its descriptor would stay open.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None, offset
    with os.fdopen(descriptor, "rb") as file:
        file.seek(max(offset, 0))
        data = file.read(min(limit, LARGEST_READ) if limit is not None else LARGEST_READ)
        return data, file.tell()


def _open_beneath(base: Path, parts: Sequence[str]) -> int | None:
    folder = None
    try:
        folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    finally:
        if folder is not None:
            os.close(folder)
