"""upgrade: look, refuse, build, back up; only then change, with a way back until the new release has proved itself."""

from collections.abc import Callable
from dataclasses import dataclass

from operations import base_image, environment_file, gateway
from operations.backups import taking
from operations.context import Context
from operations.errors import StackError
from operations.releases import building, content, history, migration, tags, trials
from operations.signals import as_interrupts
from operations.upgrades import checks, counting, ending, former, gate, images, journal, moving, planned, release, stamp
from operations.upgrades import plan as planning
from operations.upgrades.plan import Plan


@dataclass(frozen=True)
class Wish:
    """What somebody asked for."""

    dry_run: bool = False
    without_backup: bool = False
    wait_minutes: float = 15


def upgrade(context: Context, wish: Wish, confirm: Callable[[], None]) -> None:
    """Bring the deployment to the release that is checked out. `confirm` raises where nobody agrees to the plan."""
    if wish.dry_run and (unfinished := journal.read(context.deployment)):
        context.report.say(
            f"An upgrade to {unfinished.wanted} of {unfinished.since} was interrupted; the next call "
            + ("finishes it." if unfinished.phase == journal.DONE else "puts everything back, and begins anew.")
        )
        return
    ending.recover(context)
    found = _needed(context)
    if found is None:
        return
    checks.before(context)
    start = former.commit(context, found)
    with as_interrupts(), planned.of(context) as ahead:
        missing = environment_file.missing(context.deployment.env_file, context.deployment.example)
        plan = planning.make(ahead, found, missing)
        planning.show(ahead, plan)
        checks.of_plan(ahead, plan, without_backup=wish.without_backup)
        _require_quiet(context, wish)
        if wish.dry_run:
            return
        confirm()
        with moving.staged(context, plan):
            releases = _prepare(ahead, plan)
            counter = _require_countable(ahead, plan)
            if not wish.without_backup:
                taking.take(context, full=False, verify=False)
            broken = checks.failing(context, plan.images.releases)
        # From here on things change.
        _carry_out(context, plan, start, releases, broken, counter, wish)


def _needed(context: Context) -> stamp.Stamp | None:
    """The release of the state, where it is not the one that is checked out."""
    deployment = context.deployment
    wanted, found = release.of(deployment.root), stamp.standing(context)
    if found is None:
        context.report.say(f"{deployment.name} has no data yet: {deployment.stack} up makes it with {wanted}.")
        return None
    if wanted == found.release:
        context.report.say(f"Nothing to upgrade: {deployment.name} is release {wanted}.")
        return None
    if wanted.is_older_than(found.release):
        raise gate.older(deployment, wanted, found)
    return found


def _require_quiet(context: Context, wish: Wish) -> None:
    queued, started = gateway.as_admin(context.deployment).run_counts()
    if started and wish.wait_minutes <= 0:
        raise StackError(f"{started} runs are under way", "none, or time to wait for them", "--wait-minutes 15")
    if queued or started:
        context.report.say(f"Runs: {started} under way, which are waited for; {queued} queued, which stay so.")


def _prepare(ahead: Context, plan: Plan) -> list[history.Release]:
    """All images of the release, with every location's definitions loaded in its new image."""
    base_image.provide(ahead)
    images.build(ahead, plan.images)
    releases = []
    for name in ahead.locations:
        service = ahead.config["services"][name]
        if not service.get("build"):
            trials.require_contract(ahead, name, service)
        shown = {**service, "image": plan.images.of(str(service["image"]))}
        trials.validate(ahead, name, shown)
        if name in plan.images.releases:
            releases.append(_release(ahead, plan, name, shown))
    return releases


def _release(ahead: Context, plan: Plan, name: str, service: dict[str, object]) -> history.Release:
    tag = plan.images.releases[name]
    return history.Release(
        location=name,
        tag=tag,
        image=building.exists(ahead, tags.image(ahead.deployment, name, tag)) or "",
        commit=plan.head,
        content=content.of(ahead.deployment.root, name, service, plan.head, ahead.executor),
        time=history.now(),
        who=history.who(),
        result=history.DEPLOYED,
        migration=migration.newest(ahead, name, service),
    )


def _require_countable(ahead: Context, plan: Plan) -> str:
    """The image that counts, once it has shown that it can; "" where the database is elsewhere."""
    if "backup" not in ahead.config["services"] or not plan.bundled:
        return ""
    counter = plan.images.of(str(ahead.config["services"]["backup"]["image"]))
    counting.require_readable(counting.count(ahead, counter))
    return counter


def _carry_out(
    context: Context,
    plan: Plan,
    start: str,
    releases: list[history.Release],
    broken: list[str],
    counter: str,
    wish: Wish,
) -> None:
    begun = None
    try:
        begun = moving.begin(context, plan, start, releases, broken)
        moving.drain(context, wish.wait_minutes)
        changed, loaded = moving.change(context, plan, begun, counter)
        ending.commit(context, changed)
    except BaseException as error:
        under_way = journal.read(context.deployment)
        if under_way is None:
            raise
        if under_way.phase == journal.DONE:
            raise _not_finished(context, error) from error
        context.report.warn(f"{_first_line(error)}; going back")
        ending.put_back(context, under_way)
        if not isinstance(error, StackError):
            raise
        raise _undone(context, plan, error) from error
    _smoke(context, loaded)


def _smoke(context: Context, loaded: list[str]) -> None:
    """The release is in force by then: a job that fails is told, and is the location's."""
    context = Context(context.deployment, context.executor, context.report, context.host)
    try:
        moving.smoke(context, loaded)
    except StackError as error:
        raise StackError(
            error.found,
            error.expected,
            f"{error.do}\n  the new release is in force and serves all the same",
            error.code,
        ) from error


def _undone(context: Context, plan: Plan, error: StackError) -> StackError:
    data = "with all data as it was" if plan.bundled else "on the database as it is now (restore its snapshot)"
    after = f"{plan.former.version} is back and serves, {data}, by the files of the commit before"
    return StackError(
        error.found,
        error.expected,
        f"{error.do or 'correct it'}\n  {after}; {context.deployment.stack} upgrade tries again",
        error.code,
    )


def _not_finished(context: Context, error: BaseException) -> StackError:
    return StackError(
        f"the new release is in force, but not everything is settled: {_first_line(error)}",
        "what is left to end well",
        f"{context.deployment.stack} upgrade finishes it",
    )


def _first_line(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else (str(error).splitlines() or [repr(error)])[0]
