"""Names of images: a location's repository, and the tag that says when and from which commit."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from operations.deployment import Deployment
from operations.locations import plan

# Built by ./stack up from the checkout as it is; another content each time, and no release.
LOCAL = "local"
_TAG = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{12}")


def new(commit: str, at: datetime | None = None) -> str:
    """The tag of a release: it sorts by time, and names the commit."""
    return f"{(at or datetime.now(UTC)).strftime('%Y%m%dT%H%M%SZ')}-{commit[:12]}"


def is_release(tag: str) -> bool:
    """Whether a tag is one of ours, and what it names therefore never changes."""
    return _TAG.fullmatch(tag) is not None


def commit_of(tag: str) -> str:
    """The commit that a release was built from."""
    return tag.rpartition("-")[2]


def image(deployment: Deployment, location: str, tag: str) -> str:
    """The image of a location's release."""
    return f"{deployment.name}/{location}:{tag}"


def variable(location: str) -> str:
    """The setting that says which tag is in force."""
    return plan.variable(location)


def in_force(deployment: Deployment, location: str) -> str:
    """The tag that .env names; `local` where it names none."""
    return deployment.settings().get(variable(location)) or LOCAL


def release_of(service: Mapping[str, Any]) -> str | None:
    """The tag of a service of the Compose file that is built here and runs a release."""
    tag = str(service.get("image", "")).rpartition(":")[2]
    return tag if service.get("build") and is_release(tag) else None
