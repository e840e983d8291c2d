"""What was deployed, one line an attempt, and nothing is ever changed in it: `.stack/<deployment>/releases.jsonl`."""

import json
import os
import socket
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from operations import audit, locks
from operations.deployment import Deployment
from operations.releases import tags

DEPLOYED, ROLLED_BACK = "deployed", "rolled back"


@dataclass(frozen=True)
class Release:
    """An image of a location, and what became of the attempt to run it. `content` is the hash of what it was built
    from, `migration` the newest migration that it brings, and an empty `commit` that it was built elsewhere."""

    location: str
    tag: str
    image: str
    commit: str
    content: str
    time: str
    who: str
    result: str
    migration: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it served."""
        return self.result in (DEPLOYED, ROLLED_BACK)


def file(deployment: Deployment) -> Path:
    """Where it is kept."""
    return deployment.state / "releases.jsonl"


def read(deployment: Deployment) -> list[Release]:
    """All attempts, oldest first."""
    try:
        text = file(deployment).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [release for line in text.splitlines() if (release := _release(line))]


def record(deployment: Deployment, release: Release) -> None:
    """Add an attempt. It is on the disk when this returns; the audit log gets a line about it as well."""
    path = file(deployment)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as handle:
        # A line that a full disk or a crash cut off must not take this one with it.
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(size - 1, 0))
        begin = b"" if handle.read(1) in (b"", b"\n") else b"\n"
        handle.write(begin + json.dumps(asdict(release)).encode() + b"\n")
        handle.flush()
        os.fsync(handle.fileno())
    about = f"{release.location} {release.tag}"
    entry = audit.Entry(audit.now(), release.who, socket.gethostname(), "release", about, release.result)
    audit.record(path.with_name("audit.jsonl"), entry)


def in_force(deployment: Deployment, location: str) -> Release | None:
    """The release that .env names; None where it names none, as for an image that is built elsewhere."""
    tag = tags.in_force(deployment, location)
    return next((each for each in reversed(deployed(deployment, location)) if each.tag == tag), None)


def deployed(deployment: Deployment, location: str) -> list[Release]:
    """What served of a location, oldest first."""
    return [release for release in read(deployment) if release.location == location and release.ok]


def given_up(releases: list[Release]) -> set[str]:
    """The tags among what served of a location that were rolled back from, and not put in place again since."""
    left: set[str] = set()
    for before, release in pairwise(releases):
        if release.result == ROLLED_BACK and release.tag < before.tag:
            left.add(before.tag)
        left.discard(release.tag)
    return left


def now() -> str:
    """The time as releases have it: two attempts never share one."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def who() -> str:
    """Who is at work."""
    return locks.person()


def _release(line: str) -> Release | None:
    try:
        value: Any = json.loads(line)
        return Release(**{field.name: value[field.name] for field in fields(Release)})
    except (ValueError, KeyError, TypeError):
        return None
