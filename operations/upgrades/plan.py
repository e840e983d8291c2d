"""What an upgrade is going to do: found without changing anything, and shown as a table."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.table import Table

from operations import docker, preflight
from operations.context import Context
from operations.upgrades import cluster, images, release, stamp
from operations.upgrades.images import Images
from operations.upgrades.release import Release
from operations.upgrades.stamp import Stamp

# A gibibyte is copied in this time on a plain cloud disk, and dumped and read in this.
_COPY_SECONDS, _DUMP_SECONDS = 15, 120
# All services stop, migrate, start and load.
_RESTART_SECONDS = 120


@dataclass(frozen=True)
class Plan:
    """From where to where, and what that takes."""

    stamp: Stamp
    wanted: Release
    # The release as it really is: Postgres by its files, Dagster by the daemon.
    former: Release
    head: str
    images: Images
    # What of each service is going to be another.
    services: dict[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    bytes: int = 0
    free: int | None = None
    bundled: bool = True

    @property
    def major(self) -> bool:
        """Whether Postgres changes its format."""
        return self.bundled and self.former.postgres != self.wanted.postgres

    @property
    def need(self) -> int:
        """Bytes: the images, and a second cluster, which for a new version is dumped on the way."""
        return preflight.DISK_LATER + self.bytes * (2 if self.major else 1)

    @property
    def minutes(self) -> int:
        """How long nothing can be reached or started."""
        seconds = _RESTART_SECONDS + self.bytes / preflight.GIB * (_DUMP_SECONDS if self.major else _COPY_SECONDS)
        return int(seconds / 60 + 1)


def make(context: Context, found: Stamp, settings: Iterable[str]) -> Plan:
    """Look at what runs, at the checkout, at the machine. `settings`: the keys that .env has not yet."""
    deployment = context.deployment
    wanted, head = release.of(deployment.root), stamp.commit(context)
    bundled = cluster.is_bundled(context.config)
    former = Release(
        found.release.version,
        _dagster(context) or found.release.dagster,
        cluster.major(context) if bundled else wanted.postgres,
    )
    where = context.executor.run(["docker", "info", "--format", "{{.DockerRootDir}}"], check=False).stdout.strip()
    return Plan(
        found,
        wanted,
        former,
        head,
        images.plan(context, head),
        _services(context),
        tuple(settings),
        tuple(release.actions(deployment.root, former, wanted)),
        cluster.size(context) if bundled else 0,
        context.host.free_disk(where) if where else None,
        bundled,
    )


def _dagster(context: Context) -> str:
    question = "import importlib.metadata as m; print(m.version('dagster'))"
    asked = context.executor.run(
        docker.execute(context.deployment, "daemon", "python", "-c", question), check=False, timeout=60
    )
    return asked.stdout.strip() if asked.ok else ""


def _services(context: Context) -> dict[str, str]:
    """By the description that Compose compares; images are built anew in any case."""
    running = {each.service: each.labels.get(docker.HASH_LABEL) for each in context.containers() if each.is_service}
    printed = context.executor.run(docker.config_hash(context.deployment, "*"), check=False, timeout=60).stdout
    hashes = dict(line.split() for line in printed.splitlines() if len(line.split()) == 2)
    changes = {}
    for name in [*hashes, *(each for each in running if each not in hashes)]:
        if name not in running:
            changes[name] = "new"
        elif name not in hashes:
            changes[name] = "goes; its volumes stay"
        else:
            changes[name] = "new image" if hashes[name] == running[name] else "new image and description"
    return changes


def show(context: Context, plan: Plan) -> None:
    """For people."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("", "FROM", "TO"):
        table.add_column(column)
    start = plan.stamp.commit[:12] or "told from what runs"
    rows = [
        ("Release", plan.former.version, plan.wanted.version),
        ("Commit", start, plan.head[:12]),
        ("Dagster", plan.former.dagster, plan.wanted.dagster),
    ]
    if plan.bundled:
        rows.append(("Postgres", str(plan.former.postgres), str(plan.wanted.postgres)))
    for row in rows:
        table.add_row(*row)
    context.report.show(table)
    say = context.report.say
    for name, change in plan.services.items():
        say(f"  {name}: {change}")
    if plan.images.releases:
        say(f"New releases of locations: {', '.join(plan.images.releases)}, built from this commit")
    say(f"Settings that are appended to .env: {', '.join(plan.settings) or 'none'}")
    free = "unknown" if plan.free is None else f"{plan.free / preflight.GIB:.1f} GiB"
    say(f"Disk: {plan.need / preflight.GIB:.1f} GiB needed, {free} free")
    say(f"Database: {_database(plan)}")
    say(f"Not available for about {plan.minutes} minutes: UI, schedules, sensors, new runs. Queued runs wait.")
    say("What an operator has to do:" if plan.actions else "What an operator has to do: nothing")
    for action in plan.actions:
        say(f"  {action}")
    say(f"Looked at {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}; nothing was changed.")


def _database(plan: Plan) -> str:
    if not plan.bundled:
        return "elsewhere; its own backup has to be there, for there is no other way back"
    size = f"{plan.bytes / preflight.GIB:.2f} GiB"
    if plan.major:
        return f"{size}, read into a new cluster; the old one is the way back, and goes when all is well"
    return f"{size}, copied before anything changes it; the copy goes when all is well"
