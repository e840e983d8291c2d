"""reconcile: one call, from the look at the repository to an exit code."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from operations import live_networks, locks
from operations.context import Context
from operations.errors import StackError
from operations.reconcile import attempt, contents, drift, looking, metrics, settings, way_back
from operations.reconcile.contents import Work
from operations.reconcile.drift import Difference, Wanted
from operations.reconcile.ground import Ground
from operations.reconcile.looking import Look
from operations.reconcile.memory import Memory, Pause, Records, now
from operations.reconcile.repository import Repository

# Scripts and alerts hang on these.
IN_STEP, FAILED, DIFFERS, PAUSED, BUSY = 0, 1, 2, 4, locks.BUSY


@dataclass
class Outcome:
    """How a call ended."""

    result: str
    code: int
    head: str = ""
    candidate: str = ""
    differences: list[Difference] = field(default_factory=list)
    why: str = ""

    def document(self, deployment: str) -> dict[str, Any]:
        """For programs."""
        return {"deployment": deployment, **asdict(self)}


def quick(context: Context, *, retry: bool) -> Outcome | None:
    """The call that finds nothing to do, which is most of them; None where there may be something.

    It needs no lock, for it changes nothing, and leaves no line in the audit log.
    """
    records, begin = Records(context.deployment), time.monotonic()
    if paused := _paused(context, records, begin):
        return paused
    with _told_by_metrics(context, records, begin):
        memory = records.memory()
        if not memory.good or records.journal() is not None:
            return None
        outcome = _quick(context, memory, retry=retry)
        return outcome and _end(context, records, memory, begin, outcome)


def _quick(context: Context, memory: Memory, *, retry: bool) -> Outcome | None:
    look = looking.look(context, _repository(context), memory, None, retry=retry)
    if not look.head == look.target == memory.good:
        return None
    files, found, differences = looking.compare(context, memory)
    if differences:
        return None
    drift.remember_mounts(context, files, found)
    return _in_step(context, look)


@contextmanager
def _told_by_metrics(context: Context, records: Records, begin: float) -> Iterator[None]:
    """Whatever ends a call early: it is not known to be in step."""
    try:
        yield
    except BaseException:
        with suppress(StackError):
            values = metrics.of(records.memory(), time.monotonic() - begin, in_step=False, differences=None)
            metrics.write(records.metrics, context.deployment.name, values)
        raise


def run(context: Context, *, retry: bool) -> Outcome:
    """Make this machine equal to the branch. The caller holds the lock."""
    records, begin = Records(context.deployment), time.monotonic()
    # For the receiver of webhooks, which may write this one file and make none.
    records.wanted.touch(exist_ok=True)
    if paused := _paused(context, records, begin):
        return paused
    with _told_by_metrics(context, records, begin):
        memory = records.memory()
        return _end(context, records, memory, begin, _run(context, records, memory, retry=retry))


def _run(context: Context, records: Records, memory: Memory, *, retry: bool) -> Outcome:
    repository = _repository(context)
    ground = Ground(context, records, repository, memory)
    way_back.recover(ground)
    # Nothing that was read before is taken for granted after that.
    ground.fresh()
    context = ground.context
    with context.report.step("Look at the repository") as step:
        look = looking.look(context, repository, memory, records.journal(), retry=retry)
        step.done(f"{look.branch} is at {look.candidate[:12]}" + (f", signed by {look.signer}" if look.signer else ""))
    with context.report.step("Compare with what runs") as step:
        files, found, differences = looking.compare(context, memory)
        step.done(f"{len(differences)} differences" if differences else "no difference")
    for each in differences if memory.good else ():
        context.report.say(f"  {each}")
    if look.head == look.target == memory.good and records.journal() is None:
        if not differences:
            drift.remember_mounts(context, files, found)
            return _in_step(context, look)
        attempt.mend(ground, files, differences)
        outcome = _in_step(context, look)
        return outcome if outcome.code else Outcome("mended", IN_STEP, look.head, look.candidate, differences)
    work = attempt.change(ground, look, differences)
    for name in work.held:
        context.report.warn(f"{name} was rolled back and stays so until its content changes in git")
    context.report.say(f"Applied {look.target[:12]}: {repository.subject(look.target)}")
    return Outcome("applied", IN_STEP, look.target, look.candidate, differences)


def plan(context: Context) -> Outcome:
    """What `run` would do. The caller holds the lock; the candidate's work tree is all that is written."""
    records, begin = Records(context.deployment), time.monotonic()
    if paused := _paused(context, records, begin):
        return paused
    memory, repository = records.memory(), _repository(context)
    journal = records.journal()
    if journal is not None:
        context.report.warn(f"the attempt of {journal.since} was interrupted; reconcile takes it up first")
    look = looking.look(context, repository, memory, None)
    _, _, differences = looking.compare(context, memory)
    _tell(context, "Drift: what runs is not what the files of this checkout say", differences)
    if look.refused:
        context.report.say(_refusal(context, look))
    elif look.target != look.head or look.target != memory.good:
        found = _of_commit(context, records, repository, look, memory)
        new = [each for each in found if each not in differences]
        _tell(context, "The commit would bring", new[1:])
        differences += new
    if not differences and not look.refused and journal is None:
        return _in_step(context, look)
    return Outcome("differs", DIFFERS, look.head, look.candidate, differences)


def _of_commit(
    context: Context, records: Records, repository: Repository, look: Look, memory: Memory
) -> list[Difference]:
    """What the candidate would change, the commit itself first."""
    start = memory.good[:12] or "none yet"
    context.report.say(f"Commit: {start} → {look.target[:12]} {repository.subject(look.target)}")
    repository.lay_out(records.candidate, look.target)
    changes = settings.planned(context.deployment, records.candidate)
    candidate = settings.of_candidate(context.deployment, records.candidate, changes)
    files = drift.wanted_of(context, candidate)
    work = contents.work(context, files.services, look.target, memory)
    found = drift.find(context, files.services)
    differences = [Difference(look.target[:12], "commit", "is the commit of the branch, and not in force")]
    differences += [Difference(".env", "settings", f"differs: {said}") for said in changes.said]
    differences += [Difference(".env", "settings", f"has {key}, which no file uses any more") for key in changes.gone]
    differences += [Difference(name, "content", "has other content, and is replaced") for name in _users(work, files)]
    differences += [Difference(name, "first", "is built, and replaced where it differs") for name in work.first]
    differences += [each for each in drift.compare(context, files, found) if _matters(each, found)]
    for name in work.held:
        context.report.say(f"  {name} was rolled back and stays so until its content changes in git")
    return differences


def _users(work: Work, files: Wanted) -> list[str]:
    """Services whose image changes: one image may be that of several."""
    images = {files.services[name]["image"] for name in (*work.services, *work.locations, *work.fetched)}
    return [name for name, spec in files.services.items() if spec.get("image") in images]


def _matters(difference: Difference, found: drift.Found) -> bool:
    # Of the running database networks change, which does not replace it.
    return not (
        difference.subject == live_networks.POSTGRES
        and difference.kind == "description"
        and live_networks.POSTGRES in found.running
    )


def _tell(context: Context, title: str, differences: list[Difference]) -> None:
    if differences:
        context.report.say(f"{title}:")
    for each in differences:
        context.report.say(f"  {each}")


def _in_step(context: Context, look: Look) -> Outcome:
    if look.refused:
        context.report.problem(_refusal(context, look), "a commit that can be applied", "push one that corrects it")
        return Outcome("failed", FAILED, look.head, look.candidate, why=look.refused.why)
    context.report.say(f"In step with {look.branch} at {look.head[:12]}: nothing to do.")
    return Outcome("in step", IN_STEP, look.head, look.candidate)


def _refusal(context: Context, look: Look) -> str:
    assert look.refused is not None  # noqa: S101
    return (
        f"{look.candidate[:12]} failed at {look.refused.at} and is not tried again by itself: {look.refused.why}\n"
        f"  {look.head[:12]} serves; {context.deployment.stack} reconcile --retry tries it once more"
    )


def _paused(context: Context, records: Records, begin: float) -> Outcome | None:
    pause = records.pause()
    values: dict[str, float] = {"stack_reconcile_paused": pause is not None}
    if pause is not None:
        values |= metrics.of(records.memory(), time.monotonic() - begin, in_step=None, differences=None)
    metrics.write(records.metrics, context.deployment.name, values)
    if pause is None:
        return None
    context.report.warn(
        f"paused by {pause.who} since {pause.at}: {pause.why}. {context.deployment.stack} reconcile --resume ends it."
    )
    return Outcome("paused", PAUSED, why=pause.why)


def _end(context: Context, records: Records, memory: Memory, begin: float, outcome: Outcome) -> Outcome:
    drifted = 0 if outcome.code == IN_STEP else len(outcome.differences) or 1
    values = metrics.of(memory, time.monotonic() - begin, in_step=outcome.code == IN_STEP, differences=drifted)
    metrics.write(records.metrics, context.deployment.name, values)
    return outcome


def _repository(context: Context) -> Repository:
    return Repository(context.deployment.root, context.executor)


def pause(context: Context, who: str, why: str) -> None:
    """Change nothing from now on."""
    if not why.strip():
        raise StackError("--pause without a reason", "why, for whoever finds it paused", 'reconcile --pause "WHY"')
    Records(context.deployment).write_pause(Pause(who, now(), why.strip()))
    context.report.say(f"Paused. {context.deployment.stack} reconcile --resume ends it.")


def resume(context: Context) -> None:
    """Go on."""
    there = Records(context.deployment).end_pause()
    context.report.say("Resumed; the next reconcile takes up what came since." if there else "It was not paused.")
