"""What is known of a branch: its name, where its files are, and the record that outlives every interrupted step."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from operations import whole_file
from operations.deployment import Deployment
from operations.errors import StackError

PREFIX = "branch-"
# With the prefix within Compose's names, host names and `platform_kit.environment`.
ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
MAKING, READY, DELETING = "making", "ready", "deleting"


@dataclass(frozen=True)
class Record:
    """One branch, as `branch create` wrote it down before its first effect."""

    id: str
    origin: str
    created: str
    state: str = MAKING
    source: str = ""
    commit: str = ""
    rebuilt: tuple[str, ...] = ()
    images: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its deployment, and its name in the registry of clones."""
        return f"{PREFIX}{self.id}"

    @property
    def made_at(self) -> datetime:
        """When it was made."""
        return datetime.fromisoformat(self.created)


def deployment(root: Path, identifier: str) -> Deployment:
    """The deployment of a branch; raises `StackError` for an id that is no name, before it becomes a path."""
    if not ID.fullmatch(identifier):
        raise StackError(
            f"{identifier[:80]!r} is no id for a branch",
            "1 to 32 of a-z, 0-9 and -, beginning and ending with a letter or digit, such as a pull request's number",
            "choose another",
        )
    return Deployment(root, f"{PREFIX}{identifier}")


def now() -> str:
    """The time as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def path(branch: Deployment) -> Path:
    """Where a branch's record is."""
    return branch.home / "branch.json"


def read(branch: Deployment) -> Record | None:
    """The record; None where there is none. One that cannot be read is of a branch that is half there."""
    try:
        found = json.loads(path(branch).read_text(encoding="utf-8"))
        known = {field.name: found[field.name] for field in fields(Record)}
        lists = {name: tuple(known[name]) for name in ("rebuilt", "images")}
        record = Record(**{**known, **lists})
        _ = record.made_at
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Record(branch.name.removeprefix(PREFIX), "", datetime.fromtimestamp(0, UTC).isoformat())
    return record


def write(branch: Deployment, record: Record) -> None:
    """Write the record; an interrupted write leaves the old one."""
    whole_file.replace(path(branch), json.dumps(asdict(record), indent=1), 0o600)


def every(root: Path) -> Iterator[tuple[Deployment, Record]]:
    """All branches of a checkout, half-made ones included."""
    for found in sorted((root / ".deployments").glob(f"{PREFIX}*/branch.json")):
        identifier = found.parent.name.removeprefix(PREFIX)
        if ID.fullmatch(identifier):
            branch = deployment(root, identifier)
            record = read(branch)
            if record is not None:
                yield branch, record
