"""What ./stack bench runs: measures, keeps the numbers, writes the page. 1 when something was not measured."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

from operations.benchmark import MEASURES, REPORT
from tests.performance import backfill, deploys, history, ladder, memory, report, startup, throughput
from tests.performance.comparison import Both, both
from tests.performance.programs import say
from tests.performance.results import FOLDER, Results

# In this order: first what wants deployments that have done nothing yet, last what fills them.
HOW: dict[str, Callable[[Both], dict[str, Any]]] = {
    "startup": startup.measure,
    "memory": memory.measure,
    "ladder": ladder.measure,
    "throughput": throughput.measure,
    "deploys": deploys.measure,
    "backfill": backfill.measure,
    "history": history.measure,
}
assert tuple(HOW) == tuple(MEASURES)


def main() -> int:
    """Measures what is asked for. What cannot be measured does not keep the rest from being measured."""
    asked = argparse.ArgumentParser(prog="bench")
    asked.add_argument("--only", action="append", choices=(*MEASURES, REPORT), default=[])
    asked.add_argument("--rounds", type=int, default=10)
    asked.add_argument("--keep", action="store_true")
    options = asked.parse_args()
    chosen = [name for name in MEASURES if name in options.only or not options.only]
    results = Results() if not options.only else Results.last()
    failed: list[str] = []
    if chosen:
        with both(FOLDER, options.rounds, keep=options.keep) as deployments:
            failed = measure(deployments, chosen, results)
    if not results.measures:
        say("✗ nothing was ever measured here: ./stack bench measures.")
        return 1
    report.write(results)
    for name in failed:
        say(f"✗ {name} was not measured; the reason is above.")
    return 1 if failed else 0


def measure(deployments: Both, chosen: list[str], results: Results) -> list[str]:
    """Each in turn; returns those that failed. Both are brought up in any case."""
    failed = []
    for name in ["startup", *(name for name in chosen if name != "startup")]:
        say(f"{name}: {MEASURES[name]}")
        begin = time.monotonic()
        try:
            measured = HOW[name](deployments)
        except Exception as error:
            say(f"✗ {name}: {type(error).__name__}: {error}")
            if name == "startup":
                # Without both there is nothing to measure.
                return chosen
            failed.append(name)
            continue
        if name in chosen:
            results.keep(name, measured)
        say(f"✓ {name} ({time.monotonic() - begin:.0f} s)")
    return failed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
