"""Whether the daemon is well: said by the daemon itself in a file, because asking from outside costs three seconds of
processor time (Dagster's imports) each time. Read by `python -m daemon health` with the standard library alone.
"""

import json
import time
from pathlib import Path
from typing import Any

# Written every ten seconds. A process that does not get to it for so long hangs, or the database does.
STALE_SECONDS = 90


def write(path: Path, failing: list[str], now: float | None = None) -> None:
    """Replace the report; a reader sees the old one or the new one, never half of it."""
    report = {"at": time.time() if now is None else now, "failing": failing}
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(report), encoding="utf-8")
    temporary.replace(path)


def read(path: Path, now: float | None = None) -> list[str]:
    """What is wrong; an empty list when all is well."""
    try:
        report: Any = json.loads(path.read_text(encoding="utf-8"))
        age = (time.time() if now is None else now) - report["at"]
        failing = [str(one) for one in report["failing"]]
    except FileNotFoundError:
        return ["the daemon has not reported yet"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"the daemon's report cannot be read: {error}"]
    if age > STALE_SECONDS:
        return [f"the daemon has not reported for {age:.0f} s (expected every 10)"]
    return failing
