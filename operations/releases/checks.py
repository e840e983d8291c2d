"""What is looked at before a release changes anything."""

from collections.abc import Iterable

from operations import gateway, preflight
from operations.context import Context
from operations.docker import Container
from operations.errors import Finding, StackError
from operations.releases import building, journal
from operations.upgrades import gate

# A release is mostly layers that are there already; a new lock file is up to 1.5 GiB, and is unpacked beside the old.
DISK = 3 * preflight.GIB
NEEDED = ("gateway", "webserver", "daemon")


def before(context: Context, locations: Iterable[str], *, builds: bool) -> None:
    """Refuse where a release could not be carried through."""
    deployment = context.deployment
    preflight.server_version(context)
    building.refuse_shell_settings(list(locations))
    require_up(context, context.containers(), locations)
    journal.require_none(deployment)
    gate.require(context)
    if builds and (finding := disk(context)):
        preflight.refuse([finding])


def require_up(context: Context, containers: list[Container], locations: Iterable[str]) -> None:
    """The deployment has to run: what is deployed is looked at through it."""
    stack = context.deployment.stack
    running = {each.service for each in containers if each.is_service and each.state == "running"}
    missing = [name for name in NEEDED if name not in running]
    if missing or not gateway.runs(containers):
        raise StackError(
            f"{context.deployment.name} is not up: {', '.join(missing)} does not run",
            "the running deployment: a release is loaded by its webserver and its daemon",
            f"{stack} up, then repeat",
        )
    known = {each.service for each in containers if each.is_service}
    new = [name for name in locations if name not in known]
    if new:
        raise StackError(
            f"{', '.join(new)} has never been started in {context.deployment.name}",
            "a location with its network, role and volumes, which ./stack up makes",
            f"{stack} up, then repeat",
        )


def disk(context: Context) -> Finding | None:
    """Whether there is room for new images."""
    where = context.executor.run(["docker", "info", "--format", "{{.DockerRootDir}}"], check=False).stdout.strip()
    free = context.host.free_disk(where) if where else None
    if free is None or free >= DISK:
        return None
    return Finding(
        "disk",
        f"{free / preflight.GIB:.1f} GiB are free in {where}",
        f"new images need up to {DISK / preflight.GIB:.0f} GiB; nothing was changed",
        "free some: docker system df shows what Docker takes, docker builder prune clears the build cache",
    )
