"""One attempt to be at a commit: built and tried before anything is touched, and undone when it fails afterwards."""

from dataclasses import replace
from pathlib import Path

from operations import base_image, preflight, prepare, whole_file
from operations.deployment import Deployment
from operations.errors import StackError
from operations.reconcile import contents, drift, images, locations, looking, settings, way_back
from operations.reconcile.contents import Work
from operations.reconcile.drift import Difference, Wanted
from operations.reconcile.ground import Ground
from operations.reconcile.locations import Prepared
from operations.reconcile.looking import Look
from operations.reconcile.memory import Failed, Journal, now
from operations.reconcile.settings import Changes
from operations.releases import standing, tags
from operations.upgrades import gate, stamp

CHECK_SECONDS = 600


def change(ground: Ground, look: Look, differences: list[Difference]) -> Work:
    """Be at the target, or, when that fails, where it was; returns what was to be built."""
    preflight.refuse(preflight.resources(ground.context, started=bool(ground.memory.good)))
    journal = ground.records.journal()
    try:
        candidate, changes = _check(ground, look.target)
        files = drift.wanted_of(ground.context, candidate)
        work = contents.work(ground.context, files.services, look.target, ground.memory)
        journal = _begin(ground, journal, look, files, work, differences)
        prepared = _build(ground, candidate, files, work, look.target)
        _move(ground, journal, changes)
        # From here on the containers follow.
        ground.fresh()
        prepare.settings(ground.context)
        prepare.make_secrets(ground.context)
        ground.apply(journal.broken, prepared, work.fetched)
    except Exception as error:
        raise _failed(ground, look, journal, error) from error
    _stamp(ground, look, journal, work)
    return work


def mend(ground: Ground, files: Wanted, differences: list[Difference]) -> None:
    """Make what runs equal to the commit that is checked out: somebody changed it by hand, or something died."""
    if any(each.kind == "settings" for each in differences):
        settings.write(ground.deployment, settings.planned(ground.deployment, ground.deployment.root))
    releases = [each.subject for each in differences if each.kind == "release"]
    broken = looking.failing(ground.context, differences)
    good = ground.memory.good
    _build_missing(ground, files)
    ground.apply(broken, locations.prepare(ground.context, releases, good))
    ground.tell("mended", good, good, differences=[str(each) for each in differences])


def _check(ground: Ground, commit: str) -> tuple[Deployment, Changes]:
    tree = ground.records.candidate
    with ground.context.report.step(f"Lay out {commit[:12]}"):
        ground.repository.lay_out(tree, commit)
        gate.require(ground.context, tree, begins=not ground.memory.good)
        changes = settings.planned(ground.deployment, tree)
        candidate = settings.of_candidate(ground.deployment, tree, changes)
        _lend_environment(ground.deployment.root, tree)
    with ground.context.report.step("Check its files"):
        # By its own rules: a commit may bring files together with the check that knows them.
        # Started there, for Python looks for modules where it is started.
        stack = ["env", f"--chdir={tree}", "./stack", "--deployment", ground.deployment.name]
        command = [*stack, "check", "--fast"]
        result = ground.context.executor.run(command, check=False, timeout=CHECK_SECONDS)
    if not result.ok:
        said = (line for line in f"{result.stdout}\n{result.stderr}".splitlines() if line.startswith(("  ", "✗")))
        raise StackError(
            f"the files of {commit[:12]} have problems:\n" + ("\n".join(said) or result.last_words),
            "a commit that ./stack check --fast accepts",
            "correct what it names and push",
        )
    return candidate, changes


def _lend_environment(root: Path, tree: Path) -> None:
    """The candidate's ./stack makes an environment of its own where its lock is another; else it takes this one."""
    own = tree / ".venv"
    if own.is_symlink():
        own.unlink()
    if (root / ".venv").is_dir() and not own.exists():
        own.symlink_to(root / ".venv")


def _begin(
    ground: Ground, journal: Journal | None, look: Look, files: Wanted, work: Work, differences: list[Difference]
) -> Journal:
    """Write the way back down. That of an interrupted attempt leads farther back, and is kept."""
    built = images.names(files.services, [*work.services, *work.first])
    if journal is None:
        here = [name for name, spec in files.services.items() if contents.is_location(spec)]
        # Whoever pulled by hand has moved the checkout, not what runs.
        start = ground.memory.good or look.head
        journal = Journal(start, look.target, now(), tags=locations.in_force(ground.context, here))
        journal.broken = looking.failing(ground.context, differences)
        text = ground.deployment.env_file.read_text(encoding="utf-8")
        whole_file.replace(ground.records.env_before, text, 0o600)
    journal = replace(journal, target=look.target)
    journal.images = {**images.remember(ground.context, built), **journal.images}
    ground.records.write_journal(journal)
    return journal


def _build(ground: Ground, candidate: Deployment, files: Wanted, work: Work, commit: str) -> Prepared | None:
    base_image.provide(ground.context)
    images.build(ground.context, candidate, [*work.services, *work.first])
    # The first time, what is there is taken as it is; later, a location that comes is tried like one that changes.
    new = [name for name in work.first if contents.is_location(files.services[name])] if ground.memory.good else []
    locations.fetch(ground.context, work.fetched, files.services)
    locations.try_new(ground.context, new, commit)
    return locations.prepare(ground.context, work.locations, commit)


def _build_missing(ground: Ground, files: Wanted) -> None:
    """Images that somebody removed: of releases, each from its commit; of services, from what is checked out."""
    standing.provide(ground.context)
    services = files.services
    here = drift.image_ids(ground.context, (str(spec.get("image", "")) for spec in services.values()))
    own = [name for name, spec in services.items() if spec.get("build") and tags.release_of(spec) is None]
    missing = [name for name in own if services[name]["image"] not in here]
    if missing:
        base_image.provide(ground.context)
        images.build(ground.context, ground.deployment, missing)


def _move(ground: Ground, journal: Journal, changes: Changes) -> None:
    journal.moved, journal.values, journal.gone = True, dict(changes.values), list(changes.gone)
    ground.records.write_journal(journal)
    with ground.context.report.step(f"Move the checkout to {journal.target[:12]}"):
        ground.moving(lambda: ground.repository.forward(journal.target))
        settings.write(ground.deployment, changes)


def _stamp(ground: Ground, look: Look, journal: Journal, work: Work) -> None:
    memory = ground.memory
    memory.good, memory.good_at, memory.contents, memory.failed = look.target, now(), dict(work.contents), None
    ground.records.remember(memory)
    ground.records.end_journal()
    stamp.note(ground.context)
    built = [*work.services, *work.locations, *work.first, *work.fetched]
    ground.tell("applied", journal.start, look.target, signer=look.signer, built=built, held=work.held)


def _failed(ground: Ground, look: Look, journal: Journal | None, error: Exception) -> StackError:
    """Remember the commit, and be where it was before."""
    why = error if isinstance(error, StackError) else StackError(f"{type(error).__name__}: {error}")
    ground.memory.failed = Failed(look.target, now(), why.found.splitlines()[0][:300])
    ground.memory.failures += 1
    ground.records.remember(ground.memory)
    after = "nothing was changed; what runs goes on"
    if journal is not None and journal.moved:
        after = way_back.go_back_after(ground, journal, why)
    elif journal is not None:
        images.give_back(ground.context, journal.images)
        ground.records.end_journal()
    ground.tell("failed", journal.start if journal else look.head, look.target, why=why.found)
    again = (
        f"{look.target[:12]} is not tried again by itself: {ground.deployment.stack} reconcile --retry, or a new commit"
    )
    return StackError(why.found, why.expected, f"{why.do or 'correct it and push'}\n  {after}\n  {again}", why.code)
