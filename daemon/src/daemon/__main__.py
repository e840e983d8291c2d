"""`python -m daemon` runs Dagster's daemon and the sweep; `python -m daemon health` tells whether it is well."""

import sys
from collections.abc import Sequence

from daemon import health, settings


def main(arguments: Sequence[str]) -> int:
    """The exit code: of a health check 0 or 1, of a wrong call 2."""
    if list(arguments) == ["health"]:
        failing = health.read(settings.HEALTH_FILE)
        print("\n".join(failing) or "healthy")
        return 1 if failing else 0
    if arguments:
        print("usage: python -m daemon [health]", file=sys.stderr)
        return 2
    return run()


def run() -> int:
    """Dagster's daemon in this process until a signal ends it."""
    # Not for a health check, which runs every few seconds.
    from dagster import DagsterInstance
    from dagster._daemon.cli import run_command

    from daemon.background import Background

    # A restarted container keeps its /tmp for a moment: the former process's word does not count.
    settings.HEALTH_FILE.unlink(missing_ok=True)
    tolerance = settings.heartbeat_tolerance()
    with DagsterInstance.get() as instance, Background(instance, settings.HEALTH_FILE, tolerance):
        run_command.main(["--workspace", str(settings.WORKSPACE)], prog_name="daemon", standalone_mode=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
