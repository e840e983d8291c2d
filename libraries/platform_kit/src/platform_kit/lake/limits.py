"""How much of this container DuckDB may use.

DuckDB sizes itself by the machine, not by the container: on a VM with 64 GB a run limited to 1 GB would be killed
instead of spilling to disk. So the limits of the control group are read here, for both versions of control groups.
"""

import math
import os
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def memory_bytes(root: Path = _ROOT) -> int:
    """The memory this process may use: the container's limit, or the machine's memory where that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in (root / "memory.max", root / "memory" / "memory.limit_in_bytes"):
        value = _read(file)
        if value.isdecimal():  # version 2 says "max", version 1 an enormous number, when there is no limit
            return min(int(value), machine)
    return machine


def cpus(root: Path = _ROOT) -> int:
    """The processors this process may use, at least one; a part of one counts as one."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(root / "cpu.max").partition(" ")
    if not period:
        quota, period = _read(root / "cpu" / "cpu.cfs_quota_us"), _read(root / "cpu" / "cpu.cfs_period_us")
    if quota.isdecimal() and period.isdecimal() and int(period):
        available = min(available, math.ceil(int(quota) / int(period)))
    return max(1, available)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""
