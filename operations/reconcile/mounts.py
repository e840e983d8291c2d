"""Files of the repository that containers have mounted: Compose does not look into them, so we do.

A process reads such a file when it starts. What it was then is known from a record of ours, or from the file's own
times: what has not changed since the container started is what the container has.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from operations import whole_file

# Read again by the service itself whenever it changes, while it is the same file and not only one of the same name.
READ_AGAIN = {("webserver", "/opt/dagster/access.yaml")}


@dataclass(frozen=True)
class Mounted:
    """A file or folder of the checkout in a container of a service."""

    service: str
    target: str
    path: Path

    @property
    def is_read_again(self) -> bool:
        """Whether the service notices changes by itself."""
        return (self.service, self.target) in READ_AGAIN


def of_service(service: str, spec: Mapping[str, Any], root: Path, secrets: Path) -> list[Mounted]:
    """What a service mounts of the checkout; `spec` is its block as Compose resolves it."""
    found = []
    for volume in spec.get("volumes") or ():
        path = Path(str(volume.get("source", "")))
        if volume.get("type") != "bind" or not path.is_relative_to(root) or path.is_relative_to(secrets):
            continue
        found.append(Mounted(service, str(volume["target"]), path))
    return found


def fingerprint(path: Path) -> str:
    """Of a file's content, or of all files in a folder."""
    digest = hashlib.sha256()
    if not path.exists():
        return "missing"
    for file in sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]:
        digest.update(f"{file.relative_to(path)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


class Record:
    """What containers have read, by container and the moment it was started."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {}

    def differs(self, mounted: Mounted, path: Path, container: str, started_at: str) -> bool:
        """Whether a running container has something else than `path`, the file here or the one of another commit."""
        known = self._known.get(_key(container, started_at), {}).get(mounted.target)
        if known is None:
            here = fingerprint(mounted.path)
            if changed_at(mounted.path) > _moment(started_at):
                return True
            known = {"content": here, "inode": _inode(mounted.path)}
        if mounted.is_read_again:
            # Another commit's file is written into the one that is mounted.
            return bool(known["inode"] != _inode(mounted.path))
        return bool(known["content"] != fingerprint(path))

    def write(self, containers: Mapping[tuple[str, str], list[Mounted]]) -> None:
        """After everything is as it should be: what each container has is what is there. Others are forgotten."""
        known = {
            _key(*each): {one.target: {"content": fingerprint(one.path), "inode": _inode(one.path)} for one in mounted}
            for each, mounted in containers.items()
        }
        if known != self._known:
            whole_file.replace(self._path, json.dumps(known, indent=1) + "\n")
            self._known = known


def keep(path: Path, aside: Path) -> None:
    """Hold on to the file that is mounted, before git puts another one in its place."""
    aside.unlink(missing_ok=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    # On another file system it cannot be held; the service is then replaced, as for any other file.
    with contextlib.suppress(OSError):
        os.link(path, aside)


def put_back(path: Path, aside: Path) -> None:
    """Write what git brought into the file that is mounted, and give that file its name again."""
    if not aside.exists():
        return
    if path.is_file() and not path.is_symlink() and not path.samefile(aside):
        aside.write_bytes(path.read_bytes())
        os.chmod(aside, path.stat().st_mode)
        os.replace(aside, path)
    aside.unlink(missing_ok=True)


def changed_at(path: Path) -> datetime:
    """When something of it last changed, its name included."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    times = [each.stat().st_ctime for each in files if each.exists()]
    return datetime.fromtimestamp(max(times, default=0), UTC)


def _inode(path: Path) -> int:
    return path.stat().st_ino if path.exists() else 0


def _key(container: str, started_at: str) -> str:
    return f"{container} {started_at}"


def _moment(text: str) -> datetime:
    # The engine writes nanoseconds, which Python does not read.
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{(fraction + '000000')[:6]}+00:00")
