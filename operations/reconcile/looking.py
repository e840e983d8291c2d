"""The first half of every call, which changes nothing: what the branch has, whether it may come here, what differs."""

from dataclasses import dataclass

from operations import gateway
from operations.context import Context
from operations.errors import StackError
from operations.reconcile import contents, drift, signatures
from operations.reconcile.drift import Difference, Found, Wanted
from operations.reconcile.memory import Failed, Journal, Memory
from operations.reconcile.repository import Branch, Repository
from operations.releases import history


@dataclass(frozen=True)
class Look:
    """The branch, the commit that is checked out, and the one that the branch has."""

    branch: Branch
    head: str
    candidate: str
    signer: str = ""
    # The candidate failed here before, and nobody asked to try it again.
    refused: Failed | None = None

    @property
    def target(self) -> str:
        """The commit to be at."""
        return self.head if self.refused else self.candidate


def look(
    context: Context, repository: Repository, memory: Memory, journal: Journal | None, *, retry: bool = False
) -> Look:
    """Fetch the branch, and refuse what may not come here. Nothing but git's memory of the remote changes."""
    repository.require()
    settings = context.deployment.settings()
    branch = repository.branch(settings.get("RECONCILE_BRANCH", ""))
    repository.require_clean()
    head = repository.commit("HEAD")
    try:
        candidate = repository.fetch(branch)
    except StackError as error:
        if journal is None or not journal.moved:
            raise
        # Half of it is done: the other half needs nobody else.
        context.report.warn(f"{error.found}; going on with {journal.target[:12]}, which is here")
        candidate = journal.target
    repository.require_forward(head, candidate, branch)
    repository.require_room(head, candidate)
    signer = ""
    signers = signatures.signers_file(context.deployment, repository, head, candidate)
    if signers is not None and candidate != memory.good:
        signer = signatures.verify(context.executor, repository.root, candidate, signers)
    failed = memory.failed if memory.failed and memory.failed.commit == candidate and candidate != head else None
    return Look(branch, head, candidate, signer, None if retry else failed)


def compare(context: Context, memory: Memory) -> tuple[Wanted, Found, list[Difference]]:
    """What runs against the files of the checkout and the releases of the good commit."""
    files = drift.wanted(context)
    found = drift.find(context, files.services)
    differences = drift.compare(context, files, found) + drift.of_settings(context.deployment)
    return files, found, differences + _of_releases(context, files, memory)


def _of_releases(context: Context, files: Wanted, memory: Memory) -> list[Difference]:
    """Locations that somebody deployed from something else than the good commit. One that was rolled back is left."""
    differences = []
    for name, spec in files.services.items():
        wanted = memory.contents.get(name)
        if not wanted or not contents.is_location(spec):
            continue
        release = history.in_force(context.deployment, name)
        if release is None or release.content == wanted or contents.is_held(context, name, release, wanted):
            continue
        differences.append(Difference(name, "release", f"runs {release.tag}, which the commit does not ask for"))
    return differences


def failing(context: Context, differences: list[Difference]) -> list[str]:
    """Code locations that do not load although nothing of theirs differs: they may go on not to."""
    if not gateway.runs(context.containers()):
        return []
    try:
        found = gateway.as_admin(context.deployment).locations()
    except (gateway.UnreachableError, StackError):
        return []
    differing = {each.subject for each in differences}
    return [location.name for location in found if location.error and location.name not in differing]
