"""The code locations that run on this machine: their folder, package, sources and environment."""

import os
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from access import AccessError, load_locations
from operations.errors import StackError
from operations.testing.suites import PRUNED

# Code and what is read with it; a change of anything else does not need another server.
SOURCES = {".py", ".yaml", ".yml", ".sql", ".toml", ".json", ".csv", ".r", ".R", ".ipynb", ".md"}

Fingerprint = frozenset[tuple[str, int, int]]


@dataclass(frozen=True)
class Location:
    """A code location whose source is in this checkout."""

    name: str
    folder: Path
    package: str

    @property
    def lock(self) -> str:
        """Its lock file, relative to the checkout."""
        return f"code_locations/{self.name}/requirements.lock"

    @property
    def source(self) -> Path:
        """What goes on Python's path, and is watched."""
        return self.folder / "src"

    def fingerprint(self) -> Fingerprint:
        """Its source files, lock and settings with size and time: another one means that something changed."""
        paths = [self.folder / "requirements.lock", self.folder / ".env"]
        for folder, folders, names in os.walk(self.source):
            folders[:] = [name for name in folders if name not in PRUNED and not name.startswith(".")]
            paths += [Path(folder, name) for name in names if Path(name).suffix in SOURCES]
        found = set()
        for path in paths:
            with suppress(FileNotFoundError):  # there need be no .env, and an editor may just be replacing a file
                state = path.stat()
                found.add((str(path), state.st_size, state.st_mtime_ns))
        return frozenset(found)


def discover(root: Path, wanted: list[str]) -> list[Location]:
    """The locations of workspace.yaml that have their source here, or those of them that are wanted."""
    try:
        names = list(load_locations(root / "workspace.yaml"))
    except AccessError as error:
        raise StackError(str(error), "a valid workspace.yaml", "correct it") from error
    here = [name for name in names if (root / "code_locations" / name / "requirements.lock").is_file()]
    unknown = [name for name in wanted if name not in here]
    if unknown:
        elsewhere = "its image is built elsewhere" if unknown[0] in names else "workspace.yaml does not name it"
        raise StackError(
            f"code location {unknown[0]!r} cannot run here: {elsewhere}",
            f"one of {', '.join(here) or 'none: code_locations/ is empty'}",
            "name others, or none for all",
        )
    return [_read(root / "code_locations" / name) for name in here if name in wanted or not wanted]


def _read(folder: Path) -> Location:
    path = folder / "pyproject.toml"
    try:
        package = tomllib.loads(path.read_text(encoding="utf-8"))["tool"]["dg"]["project"]["root_module"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StackError(
            f"{path} does not say which package holds the definitions: {type(error).__name__}: {error}",
            '[tool.dg.project] with root_module = "<package>"',
            "add it",
        ) from error
    return Location(folder.name, folder, package)
