"""Which release a deployment's state was last brought to: written by `up` where there is no state yet, by `upgrade`
when it has succeeded, by `up` and `reconcile` for the commit. State without a stamp is of the first release."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from operations import docker, whole_file
from operations.context import Context
from operations.deployment import PROD, Deployment
from operations.errors import StackError
from operations.upgrades import release
from operations.upgrades.release import Release

NAME = "release.json"


@dataclass(frozen=True)
class Stamp:
    """The release, the commit that the containers are of ("" where that is not known), and since when."""

    release: Release
    commit: str = ""
    at: str = ""


def read(deployment: Deployment) -> Stamp | None:
    """What was written; None where nothing was."""
    try:
        return parse(_file(deployment).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StackError(
            f"{_file(deployment)} cannot be read: {error}",
            "the release that ./stack up or upgrade wrote there",
            "take it over from a backup; if the deployment is of the first release, remove it",
        ) from error


def parse(text: str) -> Stamp:
    """A stamp as a file or a backup has it."""
    value: dict[str, Any] = json.loads(text)
    return Stamp(Release(**value["release"]), str(value["commit"]), str(value["at"]))


def write(deployment: Deployment, new: Release, commit: str) -> None:
    """The state is of this release from now on. It is on the disk when this returns."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    whole_file.replace(_file(deployment), json.dumps(asdict(Stamp(new, commit, at)), indent=1) + "\n")


def standing(context: Context) -> Stamp | None:
    """The release of the state; None where there is no state, or where it is a branch's, which lives for days."""
    deployment = context.deployment
    if deployment.settings().get("DEPLOYMENT", PROD) != PROD or not has_state(context):
        return None
    return read(deployment) or Stamp(release.FIRST)


def has_state(context: Context) -> bool:
    """Whether the deployment has volumes."""
    label = f"label={docker.PROJECT_LABEL}={context.deployment.name}"
    return bool(context.executor.run(["docker", "volume", "ls", "--quiet", "--filter", label]).stdout.split())


def note(context: Context) -> None:
    """After a start that succeeded: what runs is of the commit that is checked out."""
    deployment = context.deployment
    if deployment.settings().get("DEPLOYMENT", PROD) != PROD:
        return
    now, head = release.of(deployment.root), commit(context)
    before = read(deployment)
    if before is None or (before.release, before.commit) != (now, head):
        write(deployment, now, head)


def forget(deployment: Deployment) -> None:
    """There is no state any more."""
    _file(deployment).unlink(missing_ok=True)


def commit(context: Context) -> str:
    """The commit that is checked out; "" where there is none."""
    found = context.executor.run(["git", "rev-parse", "--verify", "--quiet", "HEAD"], check=False, timeout=20)
    return found.stdout.strip() if found.ok else ""


def _file(deployment: Deployment) -> Path:
    return deployment.state / NAME
