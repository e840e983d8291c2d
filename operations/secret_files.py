"""Secrets as files: made once, never overwritten, readable by the containers and not by the host's other users."""

import os
import secrets
import tempfile
from pathlib import Path

from operations import whole_file
from operations.errors import StackError

# What a file is to contain, while it is being rewritten.
_HALF = ".rewriting."


def make_directory(directory: Path) -> None:
    """The directory keeps others out: its files must be readable for the containers' users, so it is the guard."""
    directory.mkdir(parents=True, exist_ok=True)
    if directory.stat().st_mode & 0o777 != 0o700:
        directory.chmod(0o700)
    complete(directory)


def generate() -> str:
    """A password of 32 random bytes."""
    return secrets.token_urlsafe(32)


def create(path: Path, value: str) -> bool:
    """Write a secret where none is; False, and nothing changed, when there is one."""
    if path.is_dir():
        raise StackError(
            f"{path} is a directory",
            "a file with a secret",
            f"remove it (rmdir {path}): Docker makes such directories when a container starts before its secret exists",
        )
    if path.exists():
        return False
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(value)
            file.flush()
            os.fsync(handle)
        os.chmod(name, 0o644)
        # A link fails where the name exists: of two writers the second loses, and never replaces.
        os.link(name, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(name)
    return True


def rewrite(path: Path, value: str) -> None:
    """Replace the content in place: containers mount the file itself, and a new one would stay unseen by them.

    The new content is whole beside it first, until it is in place as well: who comes next completes what a power cut
    left half written (`complete`).
    """
    aside = path.with_name(f"{_HALF}{path.name}")
    whole_file.replace(aside, value, 0o600)
    _put(aside, path)


def complete(directory: Path) -> None:
    """Put in place what was being rewritten when its writer died."""
    for aside in sorted(directory.glob(f"{_HALF}*")):
        path = directory / aside.name.removeprefix(_HALF)
        if path.is_file():
            _put(aside, path)
        else:
            aside.unlink(missing_ok=True)


def _put(aside: Path, path: Path) -> None:
    value = aside.read_bytes()
    with path.open("r+b", buffering=0) as file:
        # One call, as long as what was there: a reader, or a kill, between it and the next finds empty lines at the
        # end, never the end of another content.
        file.write(value + b"\n" * max(0, path.stat().st_size - len(value)))
        file.truncate(len(value))
        os.fsync(file.fileno())
    aside.unlink(missing_ok=True)
