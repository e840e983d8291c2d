"""How an upgrade ends: in force, with what is left to do; or undone, with everything as it was."""

from dataclasses import replace

from operations import whole_file
from operations.backups import asking
from operations.context import Context
from operations.errors import StackError
from operations.reconcile import contents, drift, memory
from operations.reconcile.memory import Memory, Records
from operations.releases import history
from operations.upgrades import cluster, former, images, journal, moving, stamp
from operations.upgrades.journal import Upgrade
from operations.verbs import up

# A file of this name in the deployment's state: the copy may replace what came since.
DECIDED = "upgrade-put-back"


def recover(context: Context, *, starts: bool = False) -> None:
    """Take up what an interrupted upgrade left: put it back, or, where it was in force already, finish it. `starts`:
    the caller starts the deployment next, and calls again then, for the end may need what is not running."""
    upgrade = journal.read(context.deployment)
    if upgrade is None:
        return
    to = upgrade.wanted.version
    if upgrade.phase == journal.DONE:
        if starts:
            stamp.write(context.deployment, upgrade.wanted, upgrade.head)
            return
        context.report.warn(f"the upgrade to {to} of {upgrade.since} was interrupted at its end: finishing it")
        finish(context, upgrade)
        return
    context.report.warn(f"the upgrade to {to} of {upgrade.since} was interrupted: putting everything back")
    put_back(context, upgrade)


def commit(context: Context, upgrade: Upgrade) -> None:
    """From here on the new release is the one in force, whatever happens next: the daemon starts, and a way back
    would lose what it does."""
    # Compose resolved the files with the settings of before.
    context = Context(context.deployment, context.executor, context.report, context.host)
    finish(context, journal.write(context.deployment, replace(upgrade, phase=journal.DONE)))


def finish(context: Context, upgrade: Upgrade) -> None:
    """What is left once it is in force. Each step may be repeated."""
    deployment = context.deployment
    stamp.write(deployment, upgrade.wanted, upgrade.head)
    known = history.read(deployment)
    for each in upgrade.releases:
        if (release := history.Release(**each)) not in known:
            history.record(deployment, release)
    moving.start_last(context)
    with context.report.step("Settle"):
        if upgrade.volume:
            cluster.settle(context, upgrade)
        if upgrade.major and deployment.settings().get("BACKUPS") == "on":
            asking.running(context, "follow")
        _remember(context, upgrade.head)
        if upgrade.volume:
            cluster.tidy(context, upgrade)
        # The image that works on the files goes next: a call that takes this up must not want it any more.
        journal.write(deployment, replace(upgrade, volume="", tool=""))
        images.tidy(context, upgrade.images)
        former.forget(context)
    journal.forget(deployment)
    context.report.say(f"{deployment.name} is release {upgrade.wanted}.")


def _remember(context: Context, head: str) -> None:
    """For reconcile, the release is the good commit: its way back must not lead before it."""
    records = Records(context.deployment)
    past = records.memory()
    if not past.good or past.good == head:
        return
    work = contents.work(context, drift.wanted(context).services, head, Memory())
    past.good, past.good_at, past.contents, past.failed = head, memory.now(), dict(work.contents), None
    records.remember(past)


def put_back(context: Context, upgrade: Upgrade) -> None:
    """Everything as it was before. Each step may be repeated after an interrupt."""
    deployment = context.deployment
    if upgrade.phase == journal.BEGUN:
        stopped = [each.id for each in context.containers() if each.is_service and each.service == moving.LAST]
        if stopped:
            context.executor.run(["docker", "start", *stopped])
    else:
        _require_untouched(context, upgrade)
        _undo(context, upgrade)
        # The image that did it goes next: a call that takes this up must not want it any more.
        journal.write(deployment, replace(upgrade, phase=journal.BEGUN))
    built = [f"{deployment.name}/{each['location']}:{each['tag']}" for each in upgrade.releases]
    images.tidy(context, upgrade.images, built)
    journal.forget(deployment)
    if upgrade.phase == journal.BEGUN:
        former.forget(context)
    context.report.say(f"{deployment.name} is release {upgrade.former} as before.")


def _require_untouched(context: Context, upgrade: Upgrade) -> None:
    """An upgrade that is not in force never starts the daemon. Where somebody did, by another checkout, the copy is
    older than what is there: what was done since would be gone. Only they can tell which of the two they want."""
    deployment = context.deployment
    decided = deployment.state / DECIDED
    daemons = [each for each in context.containers() if each.is_service and each.service == moving.LAST]
    # Both to the second, in UTC.
    touched = not daemons or any(each.state == "running" or each.started[:19] > upgrade.since[:19] for each in daemons)
    if not upgrade.volume or not touched or decided.exists():
        decided.unlink(missing_ok=True)
        return
    shown = deployment.shown(decided)
    raise StackError(
        f"{deployment.name} was started or taken down by other means since its upgrade to {upgrade.wanted.version},"
        f" begun {upgrade.since}, was interrupted",
        "your word before the copy of then takes the place of the data of now; nothing was changed",
        f"touch {shown} and repeat, to go back to the data of {upgrade.since}; or keep what is there "
        "(docs/operations/upgrade.md, Interrupted)",
    )


def _undo(context: Context, upgrade: Upgrade) -> None:
    deployment = context.deployment
    with context.report.step("Put the release of before back") as step:
        step.update("stop")
        others = (each.id for each in moving.running(context) if each.service != cluster.SERVICE)
        moving.stop_all(context, others)
        moving.stop_all(context, (each.id for each in moving.running(context)))
        if left := moving.running(context):
            raise StackError(
                f"still running: {', '.join(each.name for each in left)}",
                "nothing at work on the database's files before they are put back",
                f"docker stop {' '.join(each.name for each in left)}; {deployment.stack} upgrade then goes on",
            )
        if upgrade.volume:
            step.update("the database's files")
            cluster.put_back(context, upgrade)
            # From here on what runs is the release of before, which may go on for long before this is taken up again.
            upgrade = journal.write(deployment, replace(upgrade, volume="", tool=""))
        whole_file.replace(deployment.env_file, upgrade.env, deployment.env_file.stat().st_mode & 0o777)
        images.give_back(context, upgrade.images)
        step.update("start")
        _start(context, upgrade)
    found = up.load(context)
    for each in found:
        if each.error and each.name not in upgrade.broken:
            context.report.warn(f"{each.name} does not load: {each.error.splitlines()[-1]}")


def _start(context: Context, upgrade: Upgrade) -> None:
    """By the files of before. The former containers were made by another Compose file, so all are made anew."""
    folder = former.write_out(context, upgrade.start)
    listed = context.executor.run(former.compose(context, folder, "config", "--services"), timeout=60)
    known = set(listed.stdout.split())
    new = [each.id for each in context.containers() if each.is_service and each.service not in known]
    if new:
        context.executor.run(["docker", "rm", "--force", *new], timeout=120)
    args = ("up", "--detach", "--no-build", "--wait", "--wait-timeout", str(moving.START_SECONDS))
    done = context.executor.run(former.compose(context, folder, *args), check=False, timeout=moving.START_SECONDS + 60)
    if not done.ok:
        raise StackError(
            f"the release of before does not start: {done.last_words}",
            "all services healthy",
            f"look at what it says; {context.deployment.stack} upgrade then goes on with the way back",
        )
