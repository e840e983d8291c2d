"""Numbers of repeated measurements, and the stages of a run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

# What a run goes through after it was enqueued, and the event that says so. Docker says when the container started.
STAGES = {
    # Whoever takes it from the queue launches it at once; that it was dequeued has no event of its own any more.
    "dequeued": "RunStartingEvent",
    "container started": "",
    "run started": "RunStartEvent",
    "first step": "ExecutionStepStartEvent",
    "success": "RunSuccessEvent",
}
ENQUEUED = "RunEnqueuedEvent"
FIRST_STEP = "first step"


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float] | None) -> "Spread | None":
        """Of these values; None when there are none."""
        return cls(median(values), min(values), max(values)) if values else None

    def told(self, digits: int) -> str:
        """The median, and how far the others are from it."""
        middle, least, most = (f"{value:.{digits}f}" for value in (self.middle, self.least, self.most))
        return middle if least == most else f"{middle} ({least}–{most})"


def times(first: Spread | None, second: Spread | None) -> float | None:
    """How many times the second median goes into the first; None where that says nothing."""
    return first.middle / second.middle if first and second and second.middle > 0 else None


def stages(events: Iterable[Mapping[str, str]], container: float | None) -> dict[str, float]:
    """Seconds from enqueueing to each stage that a run came to; `container` is when its container started.

    A container that waited for its run had started before: that stage then takes no time and is left out.
    """
    at: dict[str, float] = {}
    for event in events:
        # A step that is repeated, a run that is dequeued again: the first counts.
        at.setdefault(event["__typename"], float(event.get("timestamp", 0)) / 1000)
    enqueued = at[ENQUEUED]
    found = {name: at[event] - enqueued for name, event in STAGES.items() if event in at}
    if container is not None and container > enqueued:
        found["container started"] = container - enqueued
    return {name: found[name] for name in STAGES if name in found}


def by_stage(runs: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """The measurements of each stage, in the order of the stages."""
    found = {name: [run[name] for run in runs if name in run] for name in STAGES}
    return {name: values for name, values in found.items() if values}


def a_minute(created: Sequence[float], ended: Sequence[float]) -> float:
    """Runs a minute, from the moment that the first of them was created to the end of the last."""
    return 60 * len(ended) / (max(ended) - min(created))


def moment(text: str) -> float:
    """A time as Docker writes it, with nanoseconds, in seconds."""
    head, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}+00:00").timestamp() + float(f"0.{fraction or 0}")


def megabytes(text: str) -> float:
    """An amount of memory as `docker stats` writes it, such as 95.3MiB, in MB as everybody says it (MiB)."""
    units = {"GiB": 1024.0, "MiB": 1.0, "KiB": 1 / 1024, "kB": 1e3 / 1024**2, "B": 1 / 1024**2}
    unit = next(unit for unit in units if text.endswith(unit))
    return float(text.removesuffix(unit)) * units[unit]
