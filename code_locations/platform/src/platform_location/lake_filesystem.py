"""The one file system that DuckDB has while it works in another location's lake.

A catalog says where its files are, and a catalog is its owner's: it may name another lake's files, a secret, or a way
through a link. So DuckDB's own file system is switched off for this work, and what it opens goes through here, below
one lake's folder: files are read and new ones are made; none that was there is changed or deleted.
"""

import os
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem

from platform_location import files

PROTOCOL = "lake"
ADDRESS = f"{PROTOCOL}://files/"


class _File(FileIO):
    """A file that closes itself when it is let go: DuckDB does not always say when it is done."""

    def __del__(self) -> None:
        self.close()


class LakeFiles(AbstractFileSystem):
    """The files below one folder, as `lake://files/<path>`."""

    protocol = PROTOCOL
    cachable = False

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root
        self._made: set[tuple[str, ...]] = set()

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.removeprefix(ADDRESS)

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        """A file to read, or a new one to write."""
        parts = files.parts_of(self._strip_protocol(path))
        if mode == "rb":
            return _File(files.open_to_read(self._root, parts), "rb")
        if mode in ("wb", "xb"):
            made = files.open_to_create(self._root, parts)
            self._made.add(parts)
            return _File(made, "wb")
        raise PermissionError(f"a lake's file is not opened as {mode!r} here")

    def rm(self, path: str, **_: Any) -> None:
        """Take back a file that was made here, when what it was made for fails."""
        parts = files.parts_of(self._strip_protocol(path))
        if parts not in self._made:
            raise PermissionError(f"{path} was not made here, so it is not deleted here")
        files.delete(self._root, parts)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Size and kind of a file."""
        return {"name": path, "size": self._status(path).st_size, "type": "file"}

    def modified(self, path: str) -> datetime:
        """When a file was last changed."""
        return datetime.fromtimestamp(self._status(path).st_mtime, UTC)

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is such a file."""
        return files.status(self._root, files.parts_of(self._strip_protocol(path))) is not None

    def glob(self, path: str, **_: Any) -> list[str]:
        """The file itself: names with stars are not looked up."""
        return [path] if self.exists(path) else []

    def isdir(self, path: str) -> bool:
        """Folders are made with the files in them."""
        return not self.exists(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Folders are made with the files in them."""

    def _status(self, path: str) -> os.stat_result:
        found = files.status(self._root, files.parts_of(self._strip_protocol(path)))
        if found is None:
            raise FileNotFoundError(path)
        return found
