"""What a monitoring system reads: a file for the textfile collector of Prometheus' node_exporter."""

from datetime import datetime
from pathlib import Path

from operations import whole_file
from operations.reconcile.memory import Memory

HELP = {
    "stack_reconcile_in_step": ("gauge", "1 when the deployment was found to be what its repository says."),
    "stack_reconcile_differences": ("gauge", "Services and settings that the last look found to differ."),
    "stack_reconcile_paused": ("gauge", "1 while somebody has paused it."),
    "stack_reconcile_failures_total": ("counter", "Commits that could not be applied."),
    "stack_reconcile_last_attempt_timestamp_seconds": ("gauge", "When it was last called."),
    "stack_reconcile_last_success_timestamp_seconds": ("gauge", "When the good commit was last found to be in force."),
    "stack_reconcile_last_duration_seconds": ("gauge", "How long the last call took."),
}


def write(path: Path, deployment: str, values: dict[str, float]) -> None:
    """Write the file at once. What this call does not know stays as the last one left it."""
    known = {**read(path), **values}
    lines = []
    for name, (kind, text) in HELP.items():
        if name in known:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f'{name}{{deployment="{deployment}"}} {round(known[name], 3)}']
    whole_file.replace(path, "\n".join(lines) + "\n")


def read(path: Path) -> dict[str, float]:
    """The values of the last call."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name.partition("{")[0]: float(value) for name, value in pairs}
    except (OSError, ValueError):
        return {}


def of(memory: Memory, seconds: float, *, in_step: bool | None, differences: int | None) -> dict[str, float]:
    """The values of a call that has ended."""
    now = datetime.now().timestamp()
    values = {
        "stack_reconcile_last_attempt_timestamp_seconds": now,
        "stack_reconcile_last_duration_seconds": seconds,
        "stack_reconcile_failures_total": memory.failures,
    }
    if in_step is not None:
        values["stack_reconcile_in_step"] = in_step
    if in_step:
        values["stack_reconcile_last_success_timestamp_seconds"] = now
    if differences is not None:
        values["stack_reconcile_differences"] = differences
    return values
