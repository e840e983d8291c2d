"""What this process, or its container, has used so far.

A run has a container of its own, so the control group's counters are the run's: they begin with the container, and
they count a running subprocess such as dbt, which the process's own counters see only when it has ended.
"""

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from platform_kit.environment import setting

_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Usage:
    """Processor seconds and wall seconds."""

    cpu: float = 0.0
    wall: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.cpu + other.cpu, self.wall + other.wall)

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(max(0.0, self.cpu - other.cpu), max(0.0, self.wall - other.wall))

    def part(self, fraction: float) -> "Usage":
        """This share of it."""
        return Usage(self.cpu * fraction, self.wall * fraction)


class Meter:
    """Reads both since the container, or the process, began. `root` is where control groups are mounted."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._began = time.monotonic() - _process_age()
        # On a laptop the control group is the login session's. A step's own process, of an executor that has some, is
        # not alone in its container.
        own = bool(setting("DEPLOYMENT", "")) and multiprocessing.parent_process() is None
        self._cpu = (_cgroup_cpu(root) if own else None) or _own_cpu
        self._peak = (_cgroup_peak(root) if own else None) or _own_peak

    def read(self) -> Usage:
        """What has been used since the beginning."""
        return Usage(self._cpu(), time.monotonic() - self._began)

    def peak_memory(self) -> int:
        """The most memory in use at once until now, in bytes; a container's includes its page cache."""
        return self._peak()


def _cgroup_cpu(root: Path) -> Callable[[], float] | None:
    version_1, version_2 = root / "cpuacct" / "cpuacct.usage", root / "cpu.stat"
    if version_1.is_file():
        return lambda: int(version_1.read_bytes()) / 1e9
    if version_2.is_file() and b"usage_usec" in version_2.read_bytes():
        return lambda: int(version_2.read_bytes().partition(b"usage_usec ")[2].split(b"\n")[0]) / 1e6
    return None


def _cgroup_peak(root: Path) -> Callable[[], int] | None:
    # The second is there since Linux 5.19.
    for file in (root / "memory" / "memory.max_usage_in_bytes", root / "memory.peak"):
        if file.is_file():
            return lambda: int(file.read_bytes())
    return None


def _own_cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _own_peak() -> int:
    # The largest process, not their sum, which nobody keeps.
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _process_age() -> float:
    """Seconds since this process began; where the system does not tell, since this call."""
    try:
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError):
        return 0.0
