"""What both ways, there and back, are made of: moving the checkout, and making what runs equal to it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operations import waiting
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.reconcile import applying, drift, locations, looking, mounts
from operations.reconcile.locations import Prepared
from operations.reconcile.memory import Memory, Records, now
from operations.reconcile.repository import Repository
from operations.releases import history
from operations.verbs import up

SMOKE_SECONDS = 90
# The file that a service reads again by itself keeps its identity when git brings another version.
READ_AGAIN = "access.yaml"


@dataclass
class Ground:
    """One call of reconcile: the deployment, what is remembered of it, its repository."""

    context: Context
    records: Records
    repository: Repository
    memory: Memory
    begin: float = field(default_factory=time.monotonic)

    @property
    def deployment(self) -> Deployment:
        """The deployment that is made equal."""
        return self.context.deployment

    def fresh(self) -> None:
        """Forget what Compose resolved: it is asked for once a call, and after the files changed it is another call."""
        self.context = Context(self.deployment, self.context.executor, self.context.report, self.context.host)

    def moving(self, move: Callable[[], None]) -> None:
        """Move the checkout, and keep the file that a container has mounted and reads again."""
        mounts.keep(self._read_again(), self._aside())
        try:
            move()
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Give the file that was kept its name and its new content."""
        mounts.put_back(self._read_again(), self._aside())

    def apply(self, broken: list[str], prepared: Prepared | None = None, fetched: Sequence[str] = ()) -> None:
        """Services first, migrations among them, then releases of locations, then whatever is left."""
        self.fresh()
        files, _, differences = looking.compare(self.context, Memory())
        names = {*fetched, *(prepared.plan.chosen if prepared else ())}
        others = [each for each in differences if each.subject not in names]
        if others:
            applying.apply(self.context, files, others)
        locations.put(self.context, prepared, fetched)
        self.fresh()
        files, found, differences = looking.compare(self.context, Memory())
        if differences:
            applying.apply(self.context, files, differences)
            files, found, differences = looking.compare(self.context, Memory())
        self._smoke(broken)
        if differences:
            raise StackError(
                "after everything was replaced there still differs: " + "; ".join(map(str, differences)),
                "containers that are what the files say",
                f"{self.deployment.stack} doctor",
            )
        drift.remember_mounts(self.context, files, found)

    def tell(self, result: str, start: str, end: str, **more: Any) -> None:
        """A line of the history."""
        entry = {"time": now(), "result": result, "from": start, "to": end, "who": history.who()}
        self.records.tell({**entry, **more, "seconds": round(time.monotonic() - self.begin, 1)})

    def _smoke(self, broken: list[str]) -> None:
        """Every code location loads, or fails to as it did before."""
        last: list[str] = []

        def well() -> bool | None:
            nonlocal last
            found = up.load(self.context)
            last = [f"{each.name}: {each.error}" for each in found if each.error and each.name not in broken]
            return None if last else True

        if not waiting.until(well, SMOKE_SECONDS):
            told = "\n".join(line for text in last for line in text.splitlines()[-8:])
            raise StackError(
                f"code locations that loaded before do not load now:\n{told}",
                "every location to load, or to fail as it did before",
                "correct it and push",
            )

    def _read_again(self) -> Path:
        # Where it is a link, into a repository with settings, the file behind it is mounted.
        return (self.deployment.root / READ_AGAIN).resolve()

    def _aside(self) -> Path:
        return self.deployment.state / f"{READ_AGAIN}.mounted"
