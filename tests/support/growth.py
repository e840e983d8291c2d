"""What grows while a deployment works: memory, open files and threads of services, what is kept in the database."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure

from operations.benchmark.numbers import megabytes
from tests.support.deployment import SERVICES_ALONE, Deployment, docker

EVERY_SECONDS = 10.0
# All processes of a container: what they have open, and how many threads they are. A process may end in between.
OPEN = 'ls /proc/[0-9]*/fd 2>/dev/null | grep -c "^[0-9]"; ls -d /proc/[0-9]*/task/* 2>/dev/null | wc -l'
INK = "#808080"


@dataclass(frozen=True)
class Sample:
    """One look: seconds since the first, and by service megabytes, open files and threads."""

    at: float
    memory: dict[str, float]
    files: dict[str, int]
    threads: dict[str, int]


@dataclass
class Growth:
    """Looks at a deployment's services, in a thread of its own, until it is stopped."""

    deployment: Deployment
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="growth")

    def __enter__(self) -> "Growth":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            self.samples.append(self._look())

    def _look(self) -> Sample:
        at = time.monotonic() - self._began
        prefix = f"{self.deployment.name}-"
        running = f"label=com.docker.compose.project={self.deployment.name}"
        names = docker("ps", "--format", "{{.Names}}", "--filter", running, "--filter", SERVICES_ALONE).split()
        # One that crashes in between is told by the next look.
        lines = docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *names, check=False).splitlines()
        memory = {line.split()[0]: megabytes(line.split()[1]) for line in lines if line.startswith(prefix)}
        counted = {name: docker("exec", name, "sh", "-c", OPEN, check=False).split() for name in names}
        known = {name: counts for name, counts in counted.items() if len(counts) == 2}
        return Sample(
            at,
            {_service(name, prefix): used for name, used in memory.items()},
            {_service(name, prefix): int(counts[0]) for name, counts in known.items()},
            {_service(name, prefix): int(counts[1]) for name, counts in known.items()},
        )

    def grown(self, kind: str, calm: float) -> dict[str, tuple[float, float]]:
        """By service, the median of `kind` in the third of the time that follows `calm` seconds, and in the last third.

        Raises `ValueError` when there was no time to look.
        """
        looked = [sample for sample in self.samples if sample.at >= calm]
        third = len(looked) // 3
        if third < 2:
            raise ValueError(f"only {len(looked)} looks after {calm:g} s: expected 6 at least")
        early, late = _medians(looked[:third], kind), _medians(looked[-third:], kind)
        return {service: (early[service], late[service]) for service in early if service in late}

    def draw(self, file: Path, faults: list[tuple[float, str]]) -> None:
        """All three over time, with a line where something was killed."""
        figure = Figure(figsize=(11, 9), layout="constrained")
        for axes, kind in zip(figure.subplots(3, 1, sharex=True), ("memory", "files", "threads"), strict=True):
            for service in sorted({name for sample in self.samples for name in getattr(sample, kind)}):
                points = [(sample.at / 60, getattr(sample, kind).get(service)) for sample in self.samples]
                axes.plot([x for x, _ in points], [y for _, y in points], label=service, linewidth=1)
            for at, what in faults:
                axes.axvline(at / 60, color=INK, linewidth=0.6, linestyle=":")
                if kind == "memory":
                    axes.text(at / 60, 1.01, what, rotation=45, fontsize=7, transform=axes.get_xaxis_transform())
            axes.set_ylabel({"memory": "memory, MB", "files": "open files", "threads": "threads"}[kind])
        axes.set_xlabel("minutes")
        axes.legend(ncols=6, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2))
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file)

    def now(self) -> float:
        """Seconds since the first look."""
        return time.monotonic() - self._began


def _service(container: str, prefix: str) -> str:
    return container.removeprefix(prefix).rpartition("-")[0]


def _medians(samples: list[Sample], kind: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for sample in samples:
        for service, value in getattr(sample, kind).items():
            found.setdefault(service, []).append(value)
    return {service: median(values) for service, values in found.items()}
