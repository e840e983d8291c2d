"""An upgrade that has begun: written before its first effect, removed after its last."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from operations import whole_file
from operations.deployment import Deployment
from operations.errors import StackError
from operations.upgrades.release import Release

# Only the daemon may have been stopped; services are stopped and anything may have changed; there is no way back.
BEGUN, CHANGING, DONE = "begun", "changing", "done"


# Those that take it up, those that change no container, and those that end or replace all.
_MAY_FIND_ONE = (
    *("upgrade", "up", "down", "restore", "check"),
    *("location new", "location remove", "location image", "library release"),
)


@dataclass(frozen=True)
class Upgrade:
    """From where to where, and all that the way back needs beside the files (former.py)."""

    former: Release
    wanted: Release
    # The commits of the containers before, and of the checkout.
    start: str
    head: str
    since: str
    # .env, byte for byte.
    env: str
    phase: str = BEGUN
    # What a name led to before, by the images' names.
    images: dict[str, str] = field(default_factory=dict)
    # Releases of locations that come into force, as operations/releases/history writes them.
    releases: list[dict[str, Any]] = field(default_factory=list)
    # Locations that did not load before either.
    broken: list[str] = field(default_factory=list)
    # Whose volume the cluster is in; "" where the database is elsewhere.
    volume: str = ""
    # The image with postgres/upgrade-cluster, under a name that stays until the end.
    tool: str = ""

    @property
    def id(self) -> str:
        """What its copy of the database's files is called after."""
        return "".join(each for each in self.since if each.isalnum())

    @property
    def major(self) -> bool:
        """Whether Postgres changes its format: the cluster is made anew then, beside the old one."""
        return bool(self.volume) and self.former.postgres != self.wanted.postgres


def read(deployment: Deployment) -> Upgrade | None:
    """The upgrade that was begun and not ended."""
    path = _file(deployment)
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Upgrade(**{**value, "former": Release(**value["former"]), "wanted": Release(**value["wanted"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StackError(
            f"{path} cannot be read: {error}",
            "what an interrupted ./stack upgrade wrote there",
            "git checkout the commit of the ./stack that wrote it, and repeat ./stack upgrade there",
        ) from error


def require_none(deployment: Deployment, verb: str) -> None:
    """No verb but those that take it up changes a deployment between two releases."""
    if verb in _MAY_FIND_ONE or (found := read(deployment)) is None:
        return
    raise StackError(
        f"the upgrade of {deployment.name} to {found.wanted.version}, begun {found.since}, was interrupted",
        "one release to work on",
        f"{deployment.stack} upgrade puts everything back or finishes it",
    )


def write(deployment: Deployment, upgrade: Upgrade) -> Upgrade:
    """Note how far it is, before the effect. It is on the disk when this returns."""
    whole_file.replace(_file(deployment), json.dumps(asdict(upgrade), indent=1) + "\n", 0o600)
    return upgrade


def forget(deployment: Deployment) -> None:
    """It has ended, one way or the other."""
    _file(deployment).unlink(missing_ok=True)


def _file(deployment: Deployment) -> Path:
    return deployment.state / "upgrading.json"
