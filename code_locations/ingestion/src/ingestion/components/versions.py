"""State of components in a folder: one file a version, one that names the version in force.

Dagster keeps such state with its instance. A code server and a run of this deployment have none of their own, so it is
in the location's lake volume: there both can read it, it survives any deployment, and a backup of the lake has it.
"""

import hashlib
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote

from dagster._core.storage.defs_state import DefsStateStorage
from dagster_shared.serdes.objects.models.defs_state_info import DefsStateInfo

KEPT = 10
_LATEST = "latest"


class UnknownVersionError(Exception):
    """There is no such version; the message lists those that are there."""


class VersionsInFolder(DefsStateStorage):
    """Dagster's storage of definitions' state: `<folder>/<key>/<version>`. The last ten versions of a key are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def versions(self, key: str) -> list[str]:
        """The versions of a key, oldest first: their names begin with the time."""
        place = self._place(key)
        return sorted(file.name for file in place.iterdir() if file.name != _LATEST) if place.is_dir() else []

    def get_latest_version(self, key: str) -> str | None:
        """The version in force, None when there is none or its file has gone."""
        try:
            version = (self._place(key) / _LATEST).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return version if version in self.versions(key) else None

    def get_latest_defs_state_info(self) -> DefsStateInfo | None:
        """The versions in force of all keys."""
        info = DefsStateInfo.empty()
        for place in self._folder.iterdir() if self._folder.is_dir() else ():
            version = self.get_latest_version(unquote(place.name))
            if version:
                info = DefsStateInfo.add_version(info, unquote(place.name), version, written(version).timestamp())
        return info

    def read(self, key: str, version: str) -> str:
        """What a version says. Raises UnknownVersionError, as for a run that waited while ten newer ones came."""
        if version not in self.versions(key):
            raise UnknownVersionError(
                f"{key} has no version {version!r}: there are {', '.join(self.versions(key)) or 'none'}"
            )
        return (self._place(key) / version).read_text(encoding="utf-8")

    def download_state_to_path(self, key: str, version: str, path: Path) -> None:
        """Copy a version to `path`. Raises UnknownVersionError."""
        path.write_text(self.read(key, version), encoding="utf-8")

    def upload_state_from_path(self, key: str, version: str, path: Path) -> None:
        """Keep the file at `path` as a version, put it in force, and drop versions beyond the last ten."""
        self._write(key, version, path.read_bytes())
        self.set_latest_version(key, version)
        for old in self.versions(key)[:-KEPT]:
            (self._place(key) / old).unlink(missing_ok=True)

    def set_latest_version(self, key: str, version: str | None) -> None:
        """Put a version in force, or none. Raises UnknownVersionError."""
        if version is None:
            (self._place(key) / _LATEST).unlink(missing_ok=True)
            return
        self.read(key, version)
        self._write(key, _LATEST, version.encode())

    def _place(self, key: str) -> Path:
        return self._folder / quote(key, safe="")

    def _write(self, key: str, name: str, content: bytes) -> None:
        # Renamed when whole: a server that starts meanwhile reads the old file or the new one, never half of one.
        self._place(key).mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(self._place(key) / name)


def new_version(content: str) -> str:
    """The name of a version: when it was written, and a checksum of what it says."""
    checksum = hashlib.sha256(content.encode()).hexdigest()[:8]
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{checksum}"


def written(version: str) -> datetime:
    """When a version was written."""
    return datetime.strptime(version.partition("-")[0], "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
