"""rollback: an image that served before, in place of the one in force. Nothing is built, so it takes seconds."""

from dataclasses import replace
from functools import partial

from operations.context import Context
from operations.errors import StackError
from operations.releases import building, checks, history, journal, migration, planning, serving, tags, trials, way_back
from operations.releases.deployment import put_in_place, undone_on_failure
from operations.releases.history import Release
from operations.releases.journal import Change
from operations.releases.way_back import Way
from operations.signals import as_interrupts


def rollback(context: Context, location: str, tag: str | None = None, *, accept_loss: bool = False) -> None:
    """Put the release that served before in place and was not rolled back from, or the one that `tag` names.

    Its definitions are loaded before anything is touched, and its server is loaded by webserver and daemon before the
    tables go back: it serves with newer tables as they are. What fails up to there has cost no row. With `accept_loss`
    the way back may drop tables and columns.
    """
    (name,) = planning.select(context, [location])
    checks.before(context, [name], builds=False)
    _require_built_here(context, name)
    target = choose(context, name, tag)
    image = tags.image(context.deployment, name, target.tag)
    with as_interrupts():
        way = way_back.find(context, target)
        if way is not None:
            way_back.require_accepted(context, name, target.tag, way, accept_loss=accept_loss)
        trials.validate(context, name, planning.with_tags(context, {name: target.tag})[name])
        former = serving.by_webserver_or_not(context, name)
        running = serving.container_of(context, name)
        release = replace(target, time=history.now(), who=history.who(), result=history.ROLLED_BACK)
        change = Change(release, former_image=running.image if running else image)
        with undone_on_failure(context):
            change = journal.write(context.deployment, change)
            if way is not None and way.forwards:
                change = _migrate(context, change, way)
            back = None if way is None or way.forwards else partial(_migrate, context, way=way)
            put_in_place(context, change, image, former, before_smoke=back)
    if way is not None and way.takes:
        context.report.warn(f"gone with the tables of before:{way_back.listed(way.takes)}")
    context.report.say(f"{name} runs {target.tag}, of {target.time}, commit {target.commit[:12]}.")
    context.report.say(
        f"To come back: {context.deployment.stack} rollback {name} --to TAG (./stack releases lists them)."
    )


def _migrate(context: Context, change: Change, way: Way) -> Change:
    """The tables as the target needs them: back by the image in force, which knows the way; or on, by the target."""
    about = replace(change, revision=way.current, migrating=True, back=not way.forwards, takes=way.takes)
    change = journal.write(context.deployment, about)
    if way.forwards:
        migration.upgrade(context, change.location, change.new_tag)
    else:
        migration.downgrade(context, change.location, {}, way.target)
    return change


def choose(context: Context, name: str, tag: str | None) -> Release:
    """The release to go to; raises with those that there are."""
    now = tags.in_force(context.deployment, name)
    served = history.deployed(context.deployment, name)
    images = {each.tag: each for each in served}
    there = {
        key: each for key, each in images.items() if building.exists(context, tags.image(context.deployment, name, key))
    }
    others = [key for key in there if key != now]
    listed = ", ".join(reversed(others)) or "no other release of it is on this machine"
    if tag == now:
        raise StackError(f"{name} runs {tag} already", f"another release: {listed}", "./stack releases lists them")
    if tag is not None and tag not in images:
        raise StackError(f"{name} has no release {tag}", f"one of {listed}", "./stack releases lists them")
    if tag is not None and tag not in there:
        raise StackError(
            f"the image of {name} {tag} is not on this machine any more",
            f"one of {listed}",
            f"deploy its commit again: {context.deployment.stack} deploy {name} --commit {images[tag].commit[:12]}",
        )
    if tag is not None:
        return there[tag]
    left = history.given_up(served)
    earlier = [key for key in others if key not in left and (key < now or not tags.is_release(now))]
    if not earlier:
        raise StackError(
            f"{name} has no release before {now}" if images else f"{name} was never deployed",
            f"an earlier release on this machine ({listed})",
            f"{context.deployment.stack} deploy {name} makes one",
        )
    return there[max(earlier)]


def _require_built_here(context: Context, name: str) -> None:
    service = context.config["services"][name]
    if not service.get("build"):
        raise StackError(
            f"{name} is built elsewhere: it runs what docker-compose.yml says, {service['image']}",
            "a location that is built here",
            f"./stack location image {name} --image THE-FORMER-ONE, then {context.deployment.stack} deploy {name}",
        )
