"""What is written down: one JSON line for every decision, on standard output, and counters."""

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO

Key = tuple[str, tuple[tuple[str, str], ...]]
BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)


@dataclass
class Decision:
    """One request and what became of it; filled while the request is handled."""

    caller: str
    method: str = "-"
    path: str = "-"
    route: str = "none"
    run: str = ""
    location: str = ""
    container: str = ""
    decision: str = "allowed"
    reason: str = "ok"
    status: int = 0
    message: str = ""
    started: float = field(default_factory=time.monotonic)


class Log:
    """JSON lines, one write each, from any thread."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to `stream`, by default standard output."""
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()

    def write(self, event: str, **values: Any) -> None:
        """Write one line; json.dumps escapes whatever a caller sent, so that no value can look like a line."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"time": now, "event": event, **values}, default=str)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


class Metrics:
    """Counters and gauges in Prometheus' text format."""

    def __init__(self) -> None:
        """Everything starts at zero."""
        self._lock = threading.Lock()
        self._counters: defaultdict[Key, float] = defaultdict(float)
        self._gauges: dict[Key, float] = {}
        self.set("run_broker_start_time_seconds", time.time())

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            self._counters[name, tuple(sorted(labels.items()))] += amount

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        with self._lock:
            self._gauges[name, tuple(sorted(labels.items()))] = value

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        """Add a duration to a histogram."""
        for bucket in BUCKETS:
            self.count(f"{name}_bucket", float(seconds <= bucket), **labels, le=f"{bucket:g}")
        self.count(f"{name}_bucket", **labels, le="+Inf")
        self.count(f"{name}_count", **labels)
        self.count(f"{name}_sum", seconds, **labels)

    def value(self, name: str, **labels: str) -> float:
        """The present value of a counter or gauge."""
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            return self._gauges[key] if key in self._gauges else self._counters[key]

    def render(self) -> str:
        """All of them as text."""
        with self._lock:
            samples = [*self._counters.items(), *self._gauges.items()]
            gauges = {name for name, _ in self._gauges}
        lines: list[str] = []
        described = ""
        for (name, labels), value in sorted(samples):
            family = _family(name)
            if family != described:
                kind = "gauge" if name in gauges else "histogram" if family != name else "counter"
                lines.append(f"# TYPE {family} {kind}")
                described = family
            lines.append(f"{name}{_braces(dict(labels))} {round(value, 6)}")
        return "\n".join(lines) + "\n"


class Audit:
    """Where decisions end: the log and the counters, never one without the other."""

    def __init__(self, log: Log, metrics: Metrics) -> None:
        """Keep both."""
        self.log = log
        self.metrics = metrics

    def record(self, decision: Decision) -> None:
        """Count a decision and write it down."""
        seconds = time.monotonic() - decision.started
        self.metrics.count(
            "run_broker_decisions_total",
            caller=decision.caller,
            route=decision.route,
            decision=decision.decision,
            reason=decision.reason,
            status=str(decision.status),
        )
        self.metrics.observe("run_broker_decision_seconds", seconds, caller=decision.caller, route=decision.route)
        if decision.route == "ping" and decision.decision == "allowed":
            # The health check's, every few seconds for ever; counted above.
            return
        self.log.write(
            "decision",
            caller=decision.caller,
            method=decision.method,
            path=decision.path[:200],
            route=decision.route,
            run=decision.run,
            location=decision.location,
            container=decision.container[:12],
            decision=decision.decision,
            reason=decision.reason,
            status=decision.status,
            message=decision.message[:500],
            duration_ms=round(seconds * 1000, 1),
        )


def _family(name: str) -> str:
    for suffix in ("_bucket", "_count", "_sum"):
        if name.endswith("_seconds" + suffix):
            return name.removesuffix(suffix)
    return name


def _braces(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    # Every value is a constant of the broker's code or a caller's name, none is a request's text: no escapes needed,
    # and no way for a caller to make the number of series grow.
    return "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"
