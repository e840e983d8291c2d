"""deploy: build and try everything first, then put one location after the other in place, or leave it as it was."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from operations import base_image
from operations.context import Context
from operations.errors import StackError
from operations.releases import (
    building,
    checks,
    content,
    history,
    journal,
    migration,
    planning,
    pruning,
    serving,
    tags,
    tree,
    trials,
)
from operations.releases.history import Release
from operations.releases.journal import Change
from operations.releases.planning import Plan
from operations.signals import as_interrupts


def deploy(
    context: Context,
    locations: Sequence[str],
    *,
    source: Path | None = None,
    commit: str | None = None,
    only_changed: bool = False,
) -> None:
    """Deploy locations from the commit that is checked out in the deployment, or at `source` (another work tree of the
    repository), or from the `commit` that is named. `only_changed`: those of them that differ, or of all.
    """
    names = planning.select(context, locations or (context.locations if only_changed else ()))
    checks.before(context, names, builds=True)
    repository = source or context.deployment.root
    sha = tree.resolve(context.executor, repository, commit)
    with as_interrupts():
        with tree.exported(context, repository, sha) as files:
            plan = planning.plan(context, files, names, clean=commit is None, only_changed=only_changed)
            if not plan.chosen:
                context.report.say(f"Nothing to deploy: what runs is what {sha[:12]} has.")
                return
            try:
                put_all_in_place(context, build_and_try(context, plan), plan)
            finally:
                building.remove(context, building.trial_images(context.deployment, plan.built))
        pruning.prune(context, plan.chosen)


def build_and_try(context: Context, plan: Plan) -> list[Release]:
    """New images, tried. What runs has not been touched; what fails leaves no image behind."""
    releases = [_release(context, plan, name) for name in plan.chosen]
    under_way = releases
    try:
        if plan.built:
            base_image.provide(context)
            building.build(context, plan.tree.root, plan.source, plan.built)
        tried = []
        for release in releases:
            under_way = [release]
            tried.append(_try(context, plan, release))
    except BaseException as error:
        for release in under_way:
            history.record(context.deployment, replace(release, result=_failed(error)))
        images = [tags.image(context.deployment, name, tag) for name, tag in plan.built.items()]
        building.remove(context, images)
        raise
    return tried


def _release(context: Context, plan: Plan, name: str) -> Release:
    service = plan.source["services"][name] if name in plan.built else plan.services[name]
    return Release(
        location=name,
        tag=plan.chosen[name],
        image="",
        commit=plan.tree.commit if name in plan.built else "",
        content=content.of(plan.tree.repository, name, service, plan.tree.commit, context.executor),
        time=history.now(),
        who=history.who(),
        result=history.DEPLOYED,
    )


def _try(context: Context, plan: Plan, release: Release) -> Release:
    """The release with what its image says of itself; raises where it is not fit to serve."""
    name, service = release.location, plan.services[release.location]
    if name in plan.built:
        trials.run_tests(context, plan.tree.root, name, plan.source["services"][name], release.tag)
    else:
        _require_another_image(context, name, release.tag)
        trials.require_contract(context, name, service)
    trials.validate(context, name, service)
    image = building.exists(context, str(service["image"]))
    return replace(release, image=image or "", migration=migration.newest(context, name, service))


def _require_another_image(context: Context, name: str, reference: str) -> None:
    """One name for two images leaves nothing to go back to."""
    running = serving.container_of(context, name)
    if "@" not in reference and running is not None and running.image == reference:
        raise StackError(
            f"{name} runs {reference} already; what that name means now could not be told from what it meant before",
            "a reference with a digest, or another tag",
            f"./stack location image {name} --image REGISTRY/NAME@sha256:DIGEST, then repeat",
        )


def put_all_in_place(context: Context, releases: Sequence[Release], plan: Plan) -> None:
    """One after the other; where one fails, those before it serve, and those behind it are not touched."""
    done: list[str] = []
    for release in releases:
        try:
            _replace(context, release, str(plan.services[release.location]["image"]))
        except BaseException:
            rest = [each.location for each in releases if each.location not in (*done, release.location)]
            images = [tags.image(context.deployment, name, plan.built[name]) for name in rest if name in plan.built]
            building.remove(context, images)
            if done:
                context.report.say(f"Deployed before that, and serving: {', '.join(done)}.")
            if rest:
                context.report.say(f"Not touched: {', '.join(rest)}.")
            raise
        done.append(release.location)
        context.report.say(f"Deployed {release.location} {release.tag}")


def _replace(context: Context, release: Release, image: str) -> None:
    """One location: its tables, its container, the proof that it serves. Or everything as it was."""
    former = serving.by_webserver_or_not(context, release.location)
    running = serving.container_of(context, release.location)
    change = Change(release, former_image=running.image if running else image)
    with undone_on_failure(context):
        change = journal.write(context.deployment, change)
        if release.migration is not None:
            before = migration.current(context, release.location, change.new_tag)
            if before != release.migration:
                change = journal.write(context.deployment, replace(change, revision=before, migrating=True))
                migration.upgrade(context, release.location, change.new_tag)
        put_in_place(context, change, image, former)


def put_in_place(
    context: Context,
    change: Change,
    image: str,
    former: serving.Loaded,
    before_smoke: Callable[[Change], Change] | None = None,
) -> None:
    """Swap the container, see both sides work with it, and make it the one in force. `before_smoke` is done when the
    new server is loaded, and not before."""
    since = time.time()
    serving.swap(context, change.location, change.new_tag)
    loaded = serving.await_loaded(context, change.location, image, former.server, since)
    if before_smoke is not None:
        change = before_smoke(change)
    serving.smoke(context, change.location, loaded, former)
    journal.commit(context.deployment, change)


@contextmanager
def undone_on_failure(context: Context) -> Iterator[None]:
    """Whatever ends the work inside, the journal says how to undo it."""
    try:
        yield
    except BaseException as error:
        change = journal.read(context.deployment)
        if change is not None:
            context.report.warn(f"{change.location}: {_first_line(error)}; all is made to agree with .env again")
            journal.settle(context, change, _failed(error))
        raise


def _failed(error: BaseException) -> str:
    return f"failed: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error).strip().splitlines()[0].rstrip(":")[:200] if str(error).strip() else type(error).__name__
