"""What keeps a checkout of one release from the state of another: only `upgrade` leads from one to the next."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.upgrades import release, stamp
from operations.upgrades.release import Release


def require(context: Context, root: Path | None = None, *, begins: bool = False) -> None:
    """Raises `StackError` unless the release in a tree (the checkout unless another is named) suits the state.

    `begins`: the caller is about to make the state where there is none, which is this release's from the start.
    """
    wanted = release.of(root or context.deployment.root)
    found = stamp.standing(context)
    if found is None:
        if begins:
            stamp.write(context.deployment, wanted, stamp.commit(context))
        return
    require_fit(context.deployment, wanted, found)


def require_fit(deployment: Deployment, wanted: Release, found: stamp.Stamp) -> None:
    """Raises `StackError` where the state would have to change with a release, or to go back with it."""
    if wanted.is_older_than(found.release):
        raise older(deployment, wanted, found)
    if wanted.is_newer_than(found.release):
        raise StackError(
            f"this checkout is release {wanted}, the data of {deployment.name} is of {found.release}",
            "a release that goes with the data; nothing was changed",
            f"{deployment.stack} upgrade --dry-run shows the way there, {deployment.stack} upgrade takes it",
        )


def require_backup(context: Context, recorded: Mapping[str, Any]) -> None:
    """Raises `StackError` where a backup's data is of another release than the checkout. Nothing is replaced yet."""
    deployment = context.deployment
    wanted, text = release.of(deployment.root), (recorded.get("state") or {}).get(stamp.NAME)
    found = stamp.parse(text) if text else stamp.Stamp(release.FIRST, str(recorded.get("commit") or ""))
    if wanted.is_newer_than(found.release) or wanted.is_older_than(found.release):
        commit = found.commit if text else release.commit_of(deployment.root, found.release.version)
        commit = commit or found.commit or str(recorded.get("commit") or "") or f"of release {found.release.version}"
        raise StackError(
            f"this checkout is release {wanted}, the backup is of {found.release}",
            "a checkout of the release that the backup was taken with; nothing was replaced",
            f"git checkout {commit[:40]}, restore there, then come back and {deployment.stack} upgrade",
        )


def older(deployment: Deployment, wanted: Release, found: stamp.Stamp) -> StackError:
    """No way leads back: what a newer release has made of the data, an older one does not know."""
    which = f" (git checkout {found.commit[:12]})" if found.commit else ""
    return StackError(
        f"this checkout is release {wanted}, the data of {deployment.name} is of {found.release}, which is newer",
        f"a checkout of release {found.release.version} or a newer one; nothing was changed",
        f"check that out{which}; or bring a backup of the older release back (docs/operations/upgrade.md)",
    )
