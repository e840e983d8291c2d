"""What was measured, kept as JSON so that tables and plot can be made again."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.deployment import ROOT, docker

FOLDER = ROOT / ".stack" / "bench"
FILE = FOLDER / "results.json"


@dataclass
class Results:
    """Measurements by name, and where they were taken."""

    machine: str = ""
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)

    @classmethod
    def last(cls) -> "Results":
        """Those of the last call; none when there was none."""
        return cls(**json.loads(FILE.read_text())) if FILE.exists() else cls()

    def keep(self, name: str, measured: dict[str, Any]) -> None:
        """Takes the place of an older measurement of the same."""
        self.measures[name] = measured
        self.taken[name] = f"{datetime.now(UTC):%Y-%m-%d %H:%M UTC}"
        self.machine = machine()
        FOLDER.mkdir(parents=True, exist_ok=True)
        FILE.write_text(json.dumps(vars(self), indent=1) + "\n")

    @property
    def when(self) -> str:
        """The day, or the days."""
        days = sorted({moment[:10] for moment in self.taken.values()})
        return " and ".join(days[:: max(1, len(days) - 1)]) if len(days) < 3 else f"{days[0]} to {days[-1]}"


def machine() -> str:
    """What the numbers depend on; nothing that says whose machine it is."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = cpus[0].partition(":")[2].strip() if cpus else "an unknown processor"
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024**2
    told = docker("info", "--format", "{{.NCPU}}|{{.ServerVersion}}|{{.Driver}}|{{.CgroupVersion}}").strip().split("|")
    return (
        f"{told[0]} processors ({model}), {memory:.0f} GB of memory, "
        f"Docker Engine {told[1]} ({told[2]}, control groups {told[3]})"
    )
