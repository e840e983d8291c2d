"""The way back: to the last good commit after a failure, and out of whatever an interrupted call left."""

from operations.errors import StackError
from operations.reconcile import images, locations, settings
from operations.reconcile.ground import Ground
from operations.reconcile.memory import Journal
from operations.releases import tags


def recover(ground: Ground) -> None:
    """Take up what an interrupted call left: either nothing has been touched, or the checkout is at one commit."""
    journal = ground.records.journal()
    if journal is None:
        return
    with ground.context.report.step(f"Take up the attempt of {journal.since}, which was interrupted") as step:
        ground.let_go()
        if not journal.moved:
            images.give_back(ground.context, journal.images)
            ground.records.end_journal()
            step.done("nothing had been touched")
            return
        ground.repository.mend_half_move(journal.start, journal.target)
        if not journal.returning and ground.repository.commit("HEAD") == journal.target:
            # Before anything reads .env: the new .env.example does not know what the old one did.
            settings.write(ground.deployment, settings.Changes(journal.values, tuple(journal.gone)))
    if journal.returning:
        go_back(ground, journal, "the way back was interrupted")


def go_back(ground: Ground, journal: Journal, why: str) -> None:
    """The commit, the settings, the images, the releases and the containers of before."""
    journal.returning = True
    ground.records.write_journal(journal)
    ground.context.report.warn(f"going back to {journal.start[:12]}: {why.splitlines()[0][:200]}")
    ground.moving(lambda: ground.repository.back(journal.start))
    before = ground.records.env_before.read_text(encoding="utf-8")
    present = settings.raw(ground.deployment)
    in_force = {tags.variable(name): present.get(tags.variable(name), tag) for name, tag in journal.tags.items()}
    # With the new images still in force: only they know the way their migrations go down.
    settings.replace_env(ground.deployment, settings.rewritten(before, settings.Changes(in_force)))
    ground.fresh()
    kept = locations.roll_back(ground.context, journal.tags)
    stay = {tags.variable(name): tag for name, tag in kept.items()}
    settings.replace_env(ground.deployment, settings.rewritten(before, settings.Changes(stay)))
    images.give_back(ground.context, journal.images)
    ground.apply(journal.broken)
    ground.records.end_journal()


def go_back_after(ground: Ground, journal: Journal, why: StackError) -> str:
    """Go back because of an error; what is said of it. A way back that fails is the worse news."""
    if journal.start == journal.target:
        ground.records.end_journal()
        return "there is no commit to go back to: what did start keeps running"
    try:
        go_back(ground, journal, why.found)
    except Exception as error:
        raise StackError(
            f"{why.found}\nand the way back to {journal.start[:12]} failed: {error}",
            "a deployment at one commit; parts of it are at another now",
            f"{ground.deployment.stack} doctor says what does not run; the next reconcile goes on with the way back",
        ) from error
    return f"back at {journal.start[:12]}: its images, settings and containers are in force"
