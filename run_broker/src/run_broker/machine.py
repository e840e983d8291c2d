"""What the machine has left: a container's view of these files is the host's."""

from pathlib import Path

# The kernel counts in hundredths of a second. A shorter time says little.
SHORTEST = 50


def available_memory(path: Path = Path("/proc/meminfo")) -> int:
    """In bytes."""
    found = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024


class Processors:
    """How many of the machine's processors had nothing to do lately."""

    def __init__(self, path: Path = Path("/proc/stat")) -> None:
        """Nothing is known before the second question."""
        self._path = path
        self._before: tuple[int, int] | None = None
        self._idle = 0.0

    def idle(self) -> float:
        """On average since the last time that this was asked, half a second ago or longer. At first it is none."""
        lines = [line.split() for line in self._path.read_text().splitlines() if line.startswith("cpu")]
        # user, nice, system, idle, iowait, irq, softirq, steal; what guests used is in user already.
        times = [int(text) for text in lines[0][1:9]]
        total, idle, processors = sum(times), sum(times[3:5]), len(lines) - 1
        if self._before is None:
            self._before = total, idle
        passed = total - self._before[0]
        if passed >= SHORTEST * processors:
            self._idle = processors * (idle - self._before[1]) / passed
            self._before = total, idle
        return self._idle
