"""The change itself, from the first effect to the moment from which there is no way back."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace

from operations import docker, environment_file, gateway, prepare
from operations.context import Context
from operations.docker import Container
from operations.errors import StackError
from operations.execute import CommandError
from operations.reconcile import memory
from operations.releases import serving, tags
from operations.releases.history import Release as LocationRelease
from operations.upgrades import cluster, counting, former, images, journal
from operations.upgrades.journal import Upgrade
from operations.upgrades.plan import Plan
from operations.verbs import up

START_SECONDS = 600
_POLL_SECONDS = 2.0
# Nothing is started and no tick is taken before all else is known to be well.
LAST = "daemon"


def begin(context: Context, plan: Plan, start: str, releases: list[LocationRelease], broken: list[str]) -> Upgrade:
    """Write the way back down."""
    deployment = context.deployment
    upgrade = journal.write(
        deployment,
        Upgrade(
            former=plan.former,
            wanted=plan.wanted,
            start=start,
            head=plan.head,
            since=memory.now(),
            env=deployment.env_file.read_bytes().decode("utf-8"),
            images=images.remember(context, plan.images),
            releases=[asdict(each) for each in releases],
            broken=broken,
            volume=cluster.volume(context) if plan.bundled else "",
            tool=cluster.image(context, plan.images) if plan.bundled else "",
        ),
    )
    images.keep(context, upgrade.images)
    former.write_out(context, start)
    return upgrade


def drain(context: Context, minutes: float) -> None:
    """Start no run any more, and wait for those under way. Raises `StackError` when they do not end in time."""
    daemon = [each.id for each in context.containers() if each.is_service and each.service == LAST]
    with context.report.step("Wait for runs to end") as step:
        context.executor.run(["docker", "stop", *daemon], timeout=180)
        end = time.monotonic() + minutes * 60
        while (count := _under_way(context)) != 0:
            if time.monotonic() >= end:
                raise StackError(
                    f"{count} runs have not ended within {minutes:g} minutes",
                    "no run under way: its container would end with the release",
                    f"cancel them in the UI, or give them longer: {context.deployment.stack} upgrade --wait-minutes 60",
                )
            step.update(f"{count} runs under way, {max(0, end - time.monotonic()) / 60:.0f} minutes left")
            time.sleep(_POLL_SECONDS)


def _under_way(context: Context) -> int:
    """Runs that have been started, by Dagster's word or because their container is there."""
    live = sum(each.is_run and each.state == "running" for each in context.containers())
    return max(gateway.as_admin(context.deployment).run_counts()[1], live)


def change(context: Context, plan: Plan, upgrade: Upgrade, counter: str) -> tuple[Upgrade, list[str]]:
    """Everything from the first stop to a new release that has all data; raises where it has not. Returns the
    locations that load as well. The daemon stays stopped: what it starts could not be taken back."""
    if upgrade.volume:
        cluster.require_none_left(context, upgrade)
    upgrade = journal.write(context.deployment, replace(upgrade, phase=journal.CHANGING))
    before = _stop(context, upgrade, counter)
    _data(context, upgrade)
    _files(context, plan)
    # Compose resolved the files with the settings of before.
    context = Context(context.deployment, context.executor, context.report, context.host)
    services = list(context.config["services"])
    _start(context, [name for name in services if name != LAST])
    loaded = _load(context, upgrade)
    if before is not None:
        with context.report.step("Compare with what was there") as step:
            counting.require_equal(before, counting.count(context, _counter(context), before))
            step.done(counting.told(before))
    return upgrade, loaded


def start_last(context: Context) -> None:
    """The daemon, once there is no way back any more. Where it runs it stays as it is."""
    if not any(each.is_service and each.service == LAST for each in running(context)):
        _start(context, [LAST])


def smoke(context: Context, loaded: Iterable[str]) -> None:
    """The job `smoke` of every location that has one."""
    for name in loaded:
        state = serving.by_webserver(context, name)
        serving.smoke(context, name, state, state)


def _counter(context: Context) -> str:
    return str(context.config["services"]["backup"]["image"])


def stop_all(context: Context, ids: Iterable[str]) -> None:
    """Stop containers, all at once; they stay, with their names."""
    listed = list(ids)
    if listed:
        context.executor.run(["docker", "stop", *listed], check=False, timeout=300)


def running(context: Context) -> list[Container]:
    """Every container of the deployment that runs."""
    return [each for each in context.containers() if each.state in ("running", "restarting")]


def _stop(context: Context, upgrade: Upgrade, counter: str) -> counting.Counts | None:
    """All but the database, which is counted, and then the database."""
    before = None
    with context.report.step("Stop services") as step:
        stop_all(context, (each.id for each in running(context) if each.service != cluster.SERVICE))
        if upgrade.volume and counter:
            before = counting.count(context, counter)
            step.done(counting.told(before))
        stop_all(context, (each.id for each in running(context)))
    return before


def _data(context: Context, upgrade: Upgrade) -> None:
    if not upgrade.volume:
        return
    if upgrade.major:
        title = f"Read the database into a new cluster, Postgres {upgrade.former.postgres} to {upgrade.wanted.postgres}"
        with context.report.step(title):
            name = str(context.config["services"][cluster.SERVICE]["image"])
            cluster.renew(context, upgrade, images.renamed(name, images.BEFORE))
        return
    with context.report.step("Copy the database's files"):
        cluster.copy(context, upgrade)


def _files(context: Context, plan: Plan) -> None:
    """Settings, secrets, and the names of images."""
    prepare.settings(context)
    prepare.make_secrets(context)
    for location, tag in plan.images.releases.items():
        environment_file.set_value(context.deployment.env_file, tags.variable(location), tag)
    images.put(context, plan.images)


def _start(context: Context, services: list[str]) -> None:
    title = "Start services" if LAST not in services else f"Start the {LAST}"
    with context.report.step(title) as step:
        command = [*docker.start(context.deployment, START_SECONDS), *services]
        done = context.executor.stream(command, step.update, check=False)
        if not done.ok:
            raise _not_started(context, CommandError(done))
        step.done("all healthy")


def _not_started(context: Context, error: CommandError) -> StackError:
    """What ended or is unhealthy, with the end of its output; others were still starting."""
    told = []
    for each in context.containers():
        if (
            each.is_service
            and (each.state in ("exited", "restarting") or each.health == "unhealthy")
            and not each.is_well
        ):
            output = context.executor.run(docker.logs(context.deployment, each.service, 10), check=False).stdout.strip()
            told.append(f"{each.service} is {each.state} ({each.exit_code})\n{up.last_lines(output)}")
    return StackError("\n".join(told) or error.found, "every service healthy", "correct what it says, and commit")


def _load(context: Context, upgrade: Upgrade) -> list[str]:
    """Every location loads, or fails to as it did before; returns those that do."""
    found = up.load(context)
    wrong = [each for each in found if each.error and each.name not in upgrade.broken]
    if wrong:
        told = "\n".join(f"{each.name}:\n{up.last_lines(each.error)}" for each in wrong)
        raise StackError(
            f"code locations that loaded before do not load with the new release:\n{told}",
            "every location to load, or to fail as it did before",
            "correct them, commit, and repeat",
        )
    return [each.name for each in found if not each.error]


@contextlib.contextmanager
def staged(context: Context, plan: Plan) -> Iterator[None]:
    """Images that were built go again when nothing comes of them."""
    try:
        yield
    except BaseException:
        local = [name for name, new in plan.images.built.items() if new.endswith(f":{images.NEXT}")]
        images.tidy(context, local, [new for name, new in plan.images.built.items() if name not in local])
        raise
