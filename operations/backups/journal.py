"""How far a restore has come: written when all is checked, removed when all is done."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from operations import whole_file
from operations.deployment import Deployment
from operations.errors import StackError


@dataclass(frozen=True)
class Entry:
    """A restore that has begun to take its place."""

    origin: str
    set: str
    at: str
    fresh: bool
    staged: dict[str, Any]


def read(deployment: Deployment) -> Entry | None:
    """The restore that did not end, if there is one."""
    path = _file(deployment)
    try:
        return Entry(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StackError(
            f"{path} cannot be read: {error}", "what ./stack restore wrote there", "remove it, and restore again"
        ) from error


def write(deployment: Deployment, entry: Entry) -> None:
    """From now on there is a way forward only."""
    whole_file.replace(_file(deployment), json.dumps(asdict(entry)))


def remove(deployment: Deployment) -> None:
    """It is done."""
    _file(deployment).unlink(missing_ok=True)


def _file(deployment: Deployment) -> Path:
    return deployment.state / "restore.json"
