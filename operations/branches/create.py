"""branch create: production's mirror for one change. Checks first; the registry before the copy; the record before all.

Whatever ends it half-way, a record says so: the same command then starts anew, and `branch delete` removes what there
is.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from operations import docker, environment_file, preflight, prepare, secret_files
from operations.branches import (
    delete,
    history,
    images,
    lakes,
    memory,
    networks,
    overlay,
    postgres,
    recipes,
    record,
    registry,
    source,
)
from operations.branches import settings as branch_settings
from operations.branches.record import Record
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import Finding, StackError
from operations.execute import CommandError
from operations.releases import migration, tags
from operations.verbs import up

START_SECONDS = 300
# So that the same people sign in with the same passwords; the admin's is how ./stack itself signs in.
PEOPLE = (*prepare.GATEWAY_FILES, "admin_password")


@dataclass(frozen=True)
class Wish:
    """What was asked for."""

    id: str
    locations: tuple[str, ...] = ()
    source: str = ""
    replace: bool = False


@dataclass(frozen=True)
class Plan:
    """Everything that the checks have found."""

    source: source.Source
    rebuilt: dict[str, str]
    settings: branch_settings.Settings
    shares: memory.Shares
    lakes: tuple[lakes.Lake, ...]
    images: dict[str, str]
    postgres: str
    port: str


def create(origin: Context, branch: Context, wish: Wish) -> int:
    """Make a branch of `origin`; returns the exit code."""
    _require_room(origin, branch, wish)
    with origin.report.step(f"Check this machine and {origin.deployment.name}") as step:
        plan = _examine(origin, branch, wish)
        step.done("rebuilt " + (", ".join(f"{name} ({why})" for name, why in plan.rebuilt.items()) or "nothing"))
    # From here on things change.
    delete.former(origin, branch)
    written = Record(
        id=wish.id,
        origin=origin.deployment.name,
        created=record.now(),
        source=wish.source,
        commit=plan.source.shown,
        rebuilt=tuple(plan.rebuilt),
    )
    record.write(branch.deployment, written)
    _files(origin, branch, plan, written)
    written = replace(written, images=images.names(branch))
    record.write(branch.deployment, written)
    images.take(branch, plan.images, plan.rebuilt)
    if plan.rebuilt:
        chosen = {name: origin.config["services"][name] for name in plan.rebuilt}
        with recipes.of(origin, branch, plan.source, chosen) as built_from:
            images.build(origin, branch, built_from, plan.settings.secrets)
    _data(origin, branch, plan, written)
    code = up.up(branch)
    record.write(branch.deployment, replace(written, state=record.READY))
    _tell(origin, written, plan)
    return code


def _require_room(origin: Context, branch: Context, wish: Wish) -> None:
    """The name is free, and production may be mirrored."""
    found = record.read(branch.deployment)
    if found is not None and found.state == record.READY and not wish.replace:
        raise StackError(
            f"there is a branch {wish.id} already, made {found.created} from {found.commit or 'this checkout'}",
            "an id that is free",
            f"./stack branch delete {wish.id}, then repeat; --replace does both; or choose another id",
        )
    if found is None and branch.deployment.env_file.exists():
        raise StackError(
            f"there is a deployment {branch.deployment.name} that ./stack branch did not make",
            "an id that is free",
            f"{branch.deployment.stack} down --delete-data, or choose another id",
        )
    if record.read(origin.deployment) is not None:
        raise StackError(
            f"{origin.deployment.name} is itself a branch",
            "production, or another deployment with lakes of its own",
            "name the deployment to mirror: ./stack --deployment NAME branch create",
        )


def _examine(origin: Context, branch: Context, wish: Wish) -> Plan:
    preflight.server_version(origin)
    names = origin.locations
    settings = branch_settings.of(origin.deployment.settings(), names)
    chosen = source.resolve(origin, wish.source)
    rebuilt = source.choose(origin, chosen, wish.locations)
    shares = memory.share(origin.config, settings.memory_mib)
    running = images.running(origin)
    server = postgres.require(origin)
    missing = [name for name in origin.config["services"] if name not in running and name not in branch_settings.ABSENT]
    if missing:
        raise StackError(
            f"{origin.deployment.name} does not run completely: {', '.join(missing)} have no container",
            "production to mirror",
            f"{origin.deployment.stack} up",
        )
    preflight.refuse([*_memory(origin, settings), *preflight.resources(origin, started=True)])
    _require_secrets(origin, settings)
    images.require_switch(origin, running["daemon"])
    found = tuple(lakes.of(origin.config))
    lakes.require_files(origin, server, found)
    port = prepare.planned(branch)["GATEWAY_PORT"]
    return Plan(chosen, rebuilt, settings, shares, found, running, server, port)


def _memory(origin: Context, settings: branch_settings.Settings) -> list[Finding]:
    free = origin.host.free_memory()
    if free is None or free >= settings.memory_mib * memory.MIB:
        return []
    return [
        Finding(
            "memory",
            f"{free // memory.MIB} MiB of memory are free",
            f"a branch may take {settings.memory_mib} (BRANCH_MEMORY_MB in .env)",
            "delete a branch (./stack branch list), take a larger machine, or lower BRANCH_MEMORY_MB",
        )
    ]


def _require_secrets(origin: Context, settings: branch_settings.Settings) -> None:
    for name in settings.secrets:
        if name not in (origin.config.get("secrets") or {}):
            raise StackError(
                f"BRANCH_SECRETS names {name}, which is no secret of {origin.deployment.name}",
                "names of secrets in docker-compose.yml and its overlays",
                "correct BRANCH_SECRETS in .env",
            )


def _files(origin: Context, branch: Context, plan: Plan, written: Record) -> None:
    """Settings, overlay and secrets."""
    deployment = branch.deployment
    tag = tags.new(plan.source.commit, written.made_at)
    own_tags = {tags.variable(name): tag for name in plan.rebuilt}
    known = origin.deployment.settings()
    values = overlay.values(
        known, deployment.name, plan.port, plan.settings, {k: v for k, v in own_tags.items() if k in known}
    )
    environment_file.create(deployment.env_file, deployment.example, values)
    text = overlay.banner(deployment.name, written.origin, written.made_at)
    # Here, where the networks of a branch that this one replaces are gone.
    subnets = networks.free(origin, overlay.networks(origin.config), plan.settings.networks)
    (deployment.home / overlay.FILE).write_text(
        overlay.render(origin.config, deployment.name, plan.shares, text, subnets), encoding="utf-8"
    )
    instance = overlay.dagster_file(origin.config)
    if instance is not None:
        changed = overlay.dagster_yaml(Path(instance).read_text(encoding="utf-8"), plan.shares.concurrent)
        (deployment.home / overlay.DAGSTER_FILE).write_text(changed, encoding="utf-8")
    _share(origin.deployment, deployment, [*PEOPLE, *plan.settings.secrets])
    for name in {*prepare.GIVEN} & {*(branch.config.get("secrets") or ())}:
        # Others' passwords: Compose wants the file, and no branch has a use for it.
        secret_files.create(deployment.secrets() / name, "")
    prepare.make_secrets(branch)


def _share(origin: Deployment, branch: Deployment, names: Iterable[str]) -> None:
    """Secrets that are production's; all others are drawn anew."""
    secret_files.make_directory(branch.secrets())
    for name in names:
        file = origin.secrets() / name
        if file.is_file():
            secret_files.create(branch.secrets() / name, file.read_text(encoding="utf-8"))


def _data(origin: Context, branch: Context, plan: Plan, written: Record) -> None:
    """The clone: registered in production before the first catalog is copied."""
    databases = [lake.database for lake in plan.lakes]
    if databases:
        registry.register(origin, plan.postgres, databases, written.name)
    with branch.report.step("Start the branch's database"):
        _run(branch, "up", "--detach", "--no-build", "--wait", "--wait-timeout", str(START_SECONDS), postgres.SERVICE)
        _run(branch, "run", "--rm", "--no-deps", "--no-TTY", "migrate")
        own = postgres.require(branch)
    # Before the lakes: what Dagster shows may be older than the clone, and is never younger.
    with branch.report.step("Copy what is materialised") as step:
        step.done(f"{history.copy(branch, plan.postgres, own)} assets and partitions")
    with branch.report.step("Clone the lakes") as step:
        for lake in plan.lakes:
            step.update(lake.location)
            lakes.clone(branch, plan.postgres, own, lake)
        step.done(", ".join(lake.location for lake in plan.lakes) or "there is none")
    _migrate(branch, plan.rebuilt)


def _migrate(branch: Context, rebuilt: Iterable[str]) -> None:
    """The changed locations' own tables, on the clone, by the code under review."""
    for name in rebuilt:
        if migration.newest(branch, name, branch.config["services"][name]) is not None:
            migration.upgrade(branch, name, {})


def _run(branch: Context, *args: str) -> None:
    result = branch.executor.run(docker.compose(branch.deployment, *args), check=False, timeout=2 * START_SECONDS)
    if not result.ok:
        identifier = branch.deployment.name.removeprefix(record.PREFIX)
        raise CommandError(result, f"see what it says; then repeat, or ./stack branch delete {identifier}")


def _tell(origin: Context, written: Record, plan: Plan) -> None:
    say = origin.report.say
    say()
    say(f"  {written.name} is a clone of {written.origin} from {written.created}; people sign in as there.")
    say("  Schedules and sensors are off; launches and backfills work. What runs write stays in the branch.")
    days = plan.settings.days
    ends = f"It expires {days} days after its last run. " if days else ""
    say(f"  {ends}{origin.deployment.stack} branch delete {written.id} removes it.")
