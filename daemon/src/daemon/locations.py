"""Which code locations the daemon has loaded, from which server and with which image: written by the daemon itself, as
its health is, and read by `python -m daemon locations` with the standard library alone. `./stack deploy` waits for it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagster._core.workspace.workspace import CurrentWorkspace

Told = dict[str, dict[str, Any]]


class LocationsFile:
    """Keeps a file in step with the daemon's workspace. It is in memory, so a look costs nothing."""

    def __init__(self, path: Path, workspace: "Callable[[], CurrentWorkspace]") -> None:
        self._path = path
        self._workspace = workspace
        self._written: Told | None = None

    def update(self) -> None:
        """Write what has changed."""
        told = describe(self._workspace())
        if told != self._written:
            temporary = self._path.with_suffix(".new")
            temporary.write_text(json.dumps(told), encoding="utf-8")
            temporary.replace(self._path)
            self._written = told


def describe(workspace: "CurrentWorkspace") -> Told:
    """Each location: its server and image, or the error (its messages, and the classes of all) that keeps it from
    loading, and when that was."""
    told: Told = {}
    for name, entry in workspace.code_location_entries.items():
        location, errors = entry.code_location, []
        error = entry.load_error
        while error is not None:
            errors.append(error)
            error = error.cause
        told[name] = {
            "server": getattr(location, "server_id", "") or "",
            "image": (location.container_image if location else "") or "",
            "error": "\n".join(each.message.strip() for each in errors),
            "kind": " ".join(each.cls_name or "" for each in errors),
            "at": entry.update_timestamp,
        }
    return told


def read(path: Path) -> str:
    """The file's content; one line of JSON."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "{}"
