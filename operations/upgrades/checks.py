"""Gates: all that has to be so before an upgrade touches anything."""

import re
from collections.abc import Iterable
from pathlib import Path

from operations import gateway, preflight
from operations.context import Context
from operations.errors import StackError
from operations.locations import image as image_contract
from operations.reconcile.memory import Records
from operations.releases import building, content, tree
from operations.releases import checks as release_checks
from operations.releases import journal as release_journal
from operations.upgrades.plan import Plan
from operations.verbs import check as check_verb

_PIN = re.compile(r"^dagster==([^\s;\\]+)", re.MULTILINE)


def before(context: Context) -> None:
    """What can be told before there is a plan: a whole checkout, a deployment that is up, nothing half done."""
    deployment = context.deployment
    preflight.server_version(context)
    tree.require_clean(context.executor, deployment.root, ["."])
    release_journal.require_none(deployment)
    if Records(deployment).journal() is not None:
        raise StackError(
            "an attempt of ./stack reconcile was interrupted",
            "a consistent state to begin with",
            f"{deployment.stack} reconcile in the checkout as it was, which takes it up; then repeat",
        )
    release_checks.require_up(context, context.containers(), ())
    ill = [each.service for each in context.containers() if each.is_service and not each.is_well]
    if ill:
        raise StackError(
            f"not healthy: {', '.join(sorted(ill))}",
            "every service well: what fails afterwards must be the upgrade's",
            f"{deployment.stack} doctor says why",
        )


def of_plan(context: Context, plan: Plan, *, without_backup: bool) -> None:
    """Room, files, locations, a backup."""
    if plan.free is not None and plan.free < plan.need:
        raise StackError(
            f"{plan.free / preflight.GIB:.1f} GiB are free",
            f"{plan.need / preflight.GIB:.1f} GiB: new images beside the old, and the database twice",
            "free some (docker system df shows what Docker takes), or move Docker's data to a larger disk",
        )
    building.refuse_shell_settings(context.locations)
    require_backups(context, bundled=plan.bundled, without_backup=without_backup)
    require_versions(context, plan.wanted.dagster)
    if check_verb.check(context, fast=True):
        raise StackError(
            "the files of this checkout have problems, which are told above",
            "files that ./stack check --fast accepts",
            "correct them, commit, and repeat",
        )


def require_backups(context: Context, *, bundled: bool, without_backup: bool) -> None:
    """What if all else fails."""
    if without_backup or (bundled and context.deployment.settings().get("BACKUPS") == "on"):
        return
    why = "BACKUPS is off" if bundled else "the database is elsewhere, where ./stack takes no copy"
    raise StackError(
        f"there would be no backup to return to: {why}",
        "a backup taken right before",
        "take one by your own means, and say so: --without-backup",
    )


def require_versions(context: Context, dagster: str) -> None:
    """Every location with Dagster in the version of the release: another one reads and writes another schema."""
    wrong = []
    for name in context.locations:
        service = context.config["services"][name]
        if service.get("build"):
            path = context.deployment.root / content.folder(name, service) / "requirements.lock"
            found = _pinned(path)
            if found != dagster:
                wrong.append(f"{name}: its requirements.lock has dagster {found or 'not at all'}")
            continue
        lacks = image_contract.shortcomings(context, name, str(service["image"]), dagster)
        wrong += [f"{name}: {lack}" for lack in (["its image is not on this machine"] if lacks is None else lacks)]
    if wrong:
        raise StackError(
            "code locations that do not go with this release:" + "".join(f"\n    {each}" for each in wrong),
            f"dagster {dagster} in every location",
            "lock them anew with that version, or have their images built with it (./stack location image); commit",
        )


def _pinned(path: Path) -> str:
    try:
        found = _PIN.search(path.read_text(encoding="utf-8"))
    except OSError:
        return ""
    return found[1] if found else ""


def failing(context: Context, releases: Iterable[str]) -> list[str]:
    """Locations that do not load now either. One that gets a release has to."""
    found = gateway.as_admin(context.deployment).locations()
    return [each.name for each in found if each.error and each.name not in set(releases)]
