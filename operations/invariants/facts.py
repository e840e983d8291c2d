"""What was read, as plain rows. Times are seconds since 1970."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from operations.errors import Finding

ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})
LOCATION_TAG = "dagster/code_location"


@dataclass(frozen=True)
class Run:
    """A row of Dagster's runs with its tags."""

    id: str
    status: str
    job: str = ""
    created: float = 0
    updated: float = 0
    ended_at: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to come."""
        return self.status in ENDED

    @property
    def since(self) -> float:
        """When it came to be what it is."""
        return max(self.updated, self.ended_at or 0)

    @property
    def name(self) -> str:
        """How findings call it."""
        return f"run {self.id}"


@dataclass(frozen=True)
class RunContainer:
    """A container that the broker made: for one run, or warm, waiting for one."""

    id: str
    name: str
    run_id: str = ""
    location: str = ""
    state: str = "running"
    warm: bool = False
    created: float = 0
    started: float | None = None
    finished: float | None = None

    @property
    def lives(self) -> bool:
        """Whether it has processes."""
        return self.state in ("running", "paused", "restarting")


@dataclass(frozen=True)
class Told:
    """How often a run was told one kind of event, by step."""

    run_id: str
    kind: str
    step: str = ""
    times: int = 1
    last: int = 0


@dataclass(frozen=True)
class Slot:
    """A place in a pool that a run's step holds, or waits for."""

    pool: str
    run_id: str
    step: str = ""
    status: str | None = None
    since: float = 0
    waits: bool = False


@dataclass(frozen=True)
class Pool:
    """How many steps may hold a place at once."""

    name: str
    limit: int


@dataclass(frozen=True)
class Tick:
    """One evaluation of a schedule or sensor."""

    id: int
    instigator: str
    selector: str
    kind: str
    status: str
    at: float
    updated: float = 0


@dataclass(frozen=True)
class Materialised:
    """The newest materialisation of an asset, or of one of its partitions, as the lake's I/O manager tells it."""

    asset: tuple[str, ...]
    partition: str | None
    rows: int | None
    snapshot: int | None
    run_id: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a lake as it is now: rows by partition where the asset says how rows are told apart."""

    asset: tuple[str, ...]
    exists: bool
    rows: int = 0
    partitions: Mapping[str, int] = field(default_factory=dict)
    # Of the whole lake.
    snapshot: int | None = None


@dataclass(frozen=True)
class Facts:
    """All of one look."""

    now: float = 0
    runs: Mapping[str, Run] = field(default_factory=dict)
    containers: tuple[RunContainer, ...] = ()
    told: tuple[Told, ...] = ()
    pools: tuple[Pool, ...] = ()
    slots: tuple[Slot, ...] = ()
    ticks: tuple[Tick, ...] = ()
    materialised: tuple[Materialised, ...] = ()
    tables: tuple[Table, ...] = ()
    # Assets that a run is about to write, or has written and not told yet.
    being_written: frozenset[tuple[str, ...]] = frozenset()

    @cached_property
    def containers_of(self) -> Mapping[str, list[RunContainer]]:
        """Containers by the run that they work for."""
        found: dict[str, list[RunContainer]] = {}
        for container in self.containers:
            if container.run_id:
                found.setdefault(container.run_id, []).append(container)
        return found

    @cached_property
    def events_of(self) -> Mapping[str, list[Told]]:
        """What each run was told."""
        found: dict[str, list[Told]] = {}
        for told in self.told:
            found.setdefault(told.run_id, []).append(told)
        return found


@dataclass(frozen=True)
class Violation:
    """A finding with what tells it from others: what is seen twice under the same key is no passing state."""

    key: tuple[object, ...]
    finding: Finding


Violations = Iterator[Violation]


def violation(kind: str, subject: str, found: str, expected: str, do: str, *key: object) -> Violation:
    """One thing that must not be; `key` are the values that would be others if it were on its way to be right."""
    return Violation((kind, subject, *key), Finding(subject, found, f"expected: {expected}", do))
