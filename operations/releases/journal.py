"""What a deployment was about to change when it died, so that the next ./stack can put it back.

Written before the first change and removed after the last. What is true is said by .env alone: a location whose tag is
still the former one goes back to it, with its tables; one whose tag is the new one was deployed, and only not noted.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from operations import environment_file, gateway, whole_file
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.releases import building, history, migration, serving, tags
from operations.releases.history import Release

# Verbs that may find a journal and leave it as it is: they start nothing, or everything.
LEAVE = ("down", "check", "location new", "location remove", "location image", "library release")


@dataclass(frozen=True)
class Change:
    """One location on its way from an image to another. `migrating` is set before its tables may change; they were at
    `revision`. `back` says that the way is backwards: its tables go down after the swap, and up again if it fails, and
    `takes` what that way takes with it."""

    release: Release
    former_image: str
    revision: str | None = None
    migrating: bool = False
    back: bool = False
    takes: tuple[str, ...] = ()

    @property
    def location(self) -> str:
        """Which one."""
        return self.release.location

    @property
    def new_tag(self) -> dict[str, str]:
        """The setting that makes Compose take the new image."""
        return {tags.variable(self.location): self.release.tag}


def path(deployment: Deployment) -> Path:
    """Where it is."""
    return deployment.state / "deploying.json"


def write(deployment: Deployment, change: Change) -> Change:
    """Note a change before it is made. It is on the disk when this returns."""
    whole_file.replace(path(deployment), json.dumps(asdict(change)))
    return change


def read(deployment: Deployment) -> Change | None:
    """The change that was begun and not ended."""
    try:
        value: Any = json.loads(path(deployment).read_text(encoding="utf-8"))
        return Change(**{**value, "release": Release(**value["release"])})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StackError(
            f"{path(deployment)} cannot be read: {error}",
            "what an interrupted deployment was about to change",
            "compare ./stack status with .env, and remove the file when they agree",
        ) from error


def forget(deployment: Deployment) -> None:
    """The change is complete, or undone."""
    path(deployment).unlink(missing_ok=True)


def finish(context: Context, verb: str) -> None:
    """Put back, or note, what an interrupted deployment left. Where that cannot be done now, say so and go on: the
    verbs that deploy insist on it."""
    if verb in LEAVE or not path(context.deployment).exists():
        return
    change = read(context.deployment)
    if change is None:
        return
    if serving.container_of(context, change.location) is None or not gateway.runs(context.containers()):
        context.report.warn(f"a deployment of {change.location} was interrupted; it is put back when all is up again")
        return
    context.report.warn(f"a deployment of {change.location} was interrupted: putting it back")
    try:
        settle(context, change, "failed: interrupted")
    except StackError as error:
        context.report.problem(error.found, error.expected, error.do)


def require_none(deployment: Deployment) -> None:
    """No deployment while an earlier one is half done."""
    if change := read(deployment):
        raise StackError(
            f"an interrupted deployment of {change.location} could not be put back",
            "a consistent state to begin with",
            f"{deployment.stack} up, and look at what it says; then repeat",
        )


def settle(context: Context, change: Change, result: str) -> None:
    """Make container, tables and history agree with .env."""
    deployment, release = context.deployment, change.release
    noted = release in history.read(deployment)
    if noted or (tags.is_release(release.tag) and tags.in_force(deployment, change.location) == release.tag):
        if not noted:
            history.record(deployment, release)
        forget(deployment)
        return
    migration.end(context, change.location)
    put_back(context, change)
    history.record(deployment, replace(release, result=result))
    forget(deployment)
    # The image of an attempt to deploy is of no use; what a rollback went to is as good as before.
    if release.result == history.DEPLOYED and tags.is_release(release.tag):
        building.remove(context, [tags.image(deployment, change.location, release.tag)])


def put_back(context: Context, change: Change) -> None:
    """The former image and the former tables, in reverse of how they were left."""
    name = change.location
    if change.migrating and change.back and migration.current(context, name, {}) != change.revision:
        # By the image that is in force: it brought them, and does not start without them.
        migration.upgrade(context, name, {}, change.revision)
        lost = "".join(f"\n    {each}" for each in change.takes) or " nothing that its revisions tell of"
        context.report.warn(
            f"the tables of {name} are those of before again, made anew on the way; what was in them is lost where that"
            f" way had taken it, all else is as it was:{lost}"
        )
    # What .env says is true, even where something else ran before.
    here = tags.is_release(change.release.tag)
    wanted = change.former_image
    if here:
        wanted = tags.image(context.deployment, name, tags.in_force(context.deployment, name))
    container = serving.container_of(context, name)
    if container is None or container.image != wanted or container.state != "running":
        since = time.time()
        serving.swap(context, name, {}, pinned=None if here else wanted)
        try:
            serving.await_loaded(context, name, wanted, "", since)
        except StackError as error:
            # It is the one that was there, in whatever state it was.
            context.report.warn(f"the former version is back as it was: {error.found}")
    if change.migrating and not change.back and migration.current(context, name, change.new_tag) != change.revision:
        migration.downgrade(context, name, change.new_tag, change.revision)


def commit(deployment: Deployment, change: Change) -> None:
    """From here on the new image is the one in force, whatever happens next."""
    if tags.is_release(change.release.tag):
        environment_file.set_value(deployment.env_file, tags.variable(change.location), change.release.tag)
    history.record(deployment, change.release)
    forget(deployment)
