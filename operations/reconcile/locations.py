"""Code locations of a commit, as releases: built and tried before anything is touched, put in place afterwards."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from operations import signals
from operations.context import Context
from operations.errors import StackError
from operations.releases import building, checks, deployment, journal, planning, pruning, rollback, tags, tree, trials
from operations.releases.history import Release
from operations.releases.planning import Plan


@dataclass(frozen=True)
class Prepared:
    """Releases that are built and tried, and not in force."""

    plan: Plan
    releases: Sequence[Release]


def prepare(context: Context, names: list[str], commit: str) -> Prepared | None:
    """Build these locations from the commit, run their tests and load their definitions. What runs is not touched."""
    if not names:
        return None
    building.refuse_shell_settings(names)
    journal.require_none(context.deployment)
    with signals.as_interrupts(), tree.exported(context, context.deployment.root, commit) as files:
        plan = planning.plan(context, files, names, clean=False, only_changed=False)
        try:
            return Prepared(plan, deployment.build_and_try(context, plan))
        finally:
            building.remove(context, building.trial_images(context.deployment, plan.built))


def fetch(context: Context, names: list[str], services: Mapping[str, Mapping[str, Any]]) -> None:
    """Images that another repository builds: fetched, and held to what a location's image has to be."""
    for name in names:
        trials.require_contract(context, name, services[name])
        trials.validate(context, name, services[name])


def put(context: Context, prepared: Prepared | None, fetched: Sequence[str] = ()) -> None:
    """Put what was prepared in place, one location after the other, as ./stack deploy does."""
    if fetched:
        deployment.deploy(context, list(fetched))
    if prepared is None:
        return
    names = list(prepared.plan.chosen)
    checks.before(context, names, builds=False)
    with signals.as_interrupts():
        deployment.put_all_in_place(context, prepared.releases, prepared.plan)
        pruning.prune(context, names)


def try_new(context: Context, names: list[str], commit: str) -> None:
    """Locations that this machine has not had yet: their tests and definitions, in images that go again."""
    if not names:
        return
    chosen = dict.fromkeys(names, tags.new(commit))
    with tree.exported(context, context.deployment.root, commit) as files:
        source = building.resolve(context, files.root, chosen)
        try:
            building.build(context, files.root, source, chosen)
            for name, tag in chosen.items():
                trials.run_tests(context, files.root, name, source["services"][name], tag)
                trials.validate(context, name, source["services"][name])
        finally:
            images = [tags.image(context.deployment, name, tag) for name, tag in chosen.items()]
            building.remove(context, [*images, *building.trial_images(context.deployment, chosen)])


def in_force(context: Context, names: Iterable[str]) -> dict[str, str]:
    """The tags that .env names."""
    return {name: tags.in_force(context.deployment, name) for name in names}


def roll_back(context: Context, before: dict[str, str]) -> dict[str, str]:
    """Take locations back to these tags, with their migrations; returns those that could not be, with their tags."""
    kept = {}
    for name, tag in before.items():
        now = tags.in_force(context.deployment, name)
        if now == tag or not tags.is_release(tag):
            # An image of `up` has no record and no migrations of its own: .env, put back as it was, is all there is.
            continue
        try:
            # What its new tables got since some minutes goes with them, and is told.
            rollback.rollback(context, name, tag, accept_loss=True)
        except StackError as error:
            context.report.warn(f"{name} stays at {now}: {error.found}")
            kept[name] = now
    return kept
