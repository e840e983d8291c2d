"""rollback: an image that served before, in place of the one in force. Nothing is built, so it takes seconds."""

from dataclasses import replace

from operations.context import Context
from operations.errors import StackError
from operations.releases import building, checks, history, journal, migration, planning, serving, tags
from operations.releases.deployment import as_interrupts, put_in_place, undone_on_failure
from operations.releases.history import Release
from operations.releases.journal import Change


def rollback(context: Context, location: str, tag: str | None = None) -> None:
    """Put the release that served before in place, or the one that `tag` names."""
    (name,) = planning.select(context, [location])
    checks.before(context, [name], builds=False)
    _require_built_here(context, name)
    target = choose(context, name, tag)
    image = tags.image(context.deployment, name, target.tag)
    with as_interrupts():
        former = serving.by_webserver_or_not(context, name)
        running = serving.container_of(context, name)
        release = replace(target, time=history.now(), who=history.who(), result=history.ROLLED_BACK)
        change = Change(release, former_image=running.image if running else image)
        with undone_on_failure(context):
            change = _migrate(context, journal.write(context.deployment, change))
            put_in_place(context, change, image, former)
    context.report.say(f"{name} runs {target.tag}, of {target.time}, commit {target.commit[:12]}.")
    context.report.say(
        f"To come back: {context.deployment.stack} rollback {name} --to TAG (./stack releases lists them)."
    )


def choose(context: Context, name: str, tag: str | None) -> Release:
    """The release to go to; raises with those that there are."""
    now = tags.in_force(context.deployment, name)
    images = {each.tag: each for each in history.deployed(context.deployment, name)}
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
    earlier = [key for key in others if key < now or not tags.is_release(now)]
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


def _migrate(context: Context, change: Change) -> Change:
    """The tables as the target needs them: back by the image in force, which knows the way; or on, by the target."""
    name, deployment = change.location, context.deployment
    target = migration.newest(context, name, planning.with_tags(context, {name: change.release.tag})[name])
    now = tags.in_force(deployment, name)
    forwards = tags.is_release(now) and change.release.tag > now
    with_image = change.new_tag if forwards else {}
    if migration.newest(context, name, context.config["services"][name]) is None and target is None:
        return change
    current = migration.current(context, name, with_image)
    if current == target:
        return change
    change = journal.write(deployment, replace(change, revision=current, migrating=True, back=not forwards))
    if forwards:
        migration.upgrade(context, name, change.new_tag)
    else:
        migration.downgrade(context, name, {}, target)
    return change
