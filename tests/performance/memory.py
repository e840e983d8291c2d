"""Memory of both while nothing runs."""

import time
from typing import Any

from operations.benchmark.numbers import megabytes
from tests.performance.comparison import Both
from tests.performance.programs import say
from tests.support.deployment import docker

# Until what a start leaves behind (imports, first heartbeats) is over.
SETTLE_SECONDS = 60


def measure(both: Both) -> dict[str, Any]:
    """By service, as `docker stats` says: without what the file cache has not used lately."""
    say(f"  waiting {SETTLE_SECONDS} s, so that both are idle")
    time.sleep(SETTLE_SECONDS)
    found: dict[str, Any] = {}
    for title, side in (("plain", both.plain), ("stack", both.stack)):
        running = _used(f"label=com.docker.compose.project={side.name}")
        found[title] = {name: running[key] for name in side.services() if (key := f"{side.name}-{name}-1") in running}
        say(f"  {title}: {sum(found[title].values()):.0f} MB in {len(found[title])} services")
    warm = both.stack.warm_containers()
    found["warm"] = list(_used(*(f"name={name}" for name in warm)).values()) if warm else None
    return found


def _used(*filters: str) -> dict[str, float]:
    chosen = [part for text in filters for part in ("--filter", text)]
    names = docker("ps", "--format", "{{.Names}}", *chosen).split()
    # Without a name, it would tell those of the whole machine.
    assert names, filters
    lines = docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *names).splitlines()
    return {line.split()[0]: megabytes(line.split()[1]) for line in lines}
