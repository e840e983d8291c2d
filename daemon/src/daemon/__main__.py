"""`python -m daemon` runs Dagster's daemon and the sweep; `health` tells whether it is well, `locations` what it has
loaded, `images` which images unfinished runs need.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence

from daemon import health, locations, settings

USAGE = "usage: python -m daemon [health | locations | images]"


def main(arguments: Sequence[str]) -> int:
    """The exit code: of a health check 0 or 1, of a wrong call 2."""
    match list(arguments):
        case []:
            return run()
        case ["health"]:
            failing = health.read(settings.HEALTH_FILE)
            print("\n".join(failing) or "healthy")
            return 1 if failing else 0
        case ["locations"]:
            print(locations.read(settings.LOCATIONS_FILE))
            return 0
        case ["images"]:
            return images()
        case _:
            print(USAGE, file=sys.stderr)
            return 2


def images() -> int:
    """Print a list, as JSON."""
    from dagster import DagsterInstance

    from daemon.images import of_unfinished_runs

    with DagsterInstance.get() as instance:
        print(json.dumps(of_unfinished_runs(instance)))
    return 0


class Anew:
    """Ends this process in order, as a signal from outside would, and begins it anew in its place."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "daemon")) -> None:
        self._command = list(command)
        self._asked = False

    def ask(self) -> None:
        """End now, begin anew then."""
        self._asked = True
        os.kill(os.getpid(), signal.SIGTERM)

    def begin_if_asked(self) -> None:
        """Does not return when somebody asked."""
        if self._asked:
            os.execv(self._command[0], self._command)  # noqa: S606 - the same program, its arguments are constants


def run() -> int:
    """Dagster's daemon in this process until a signal ends it."""
    # Not for a health check, which runs every few seconds.
    from lean_dagster import without_alembic, without_colours

    without_colours()
    without_alembic()

    from dagster import DagsterInstance
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster._daemon.controller import daemon_controller_from_instance
    from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers

    from daemon import logs, loops, run_queue
    from daemon.background import Background
    from daemon.clock import Clock
    from daemon.launches import Launches

    # A restarted container keeps its /tmp for a moment: the former process's word does not count.
    for file in (settings.HEALTH_FILE, settings.LOCATIONS_FILE):
        file.unlink(missing_ok=True)
    tolerance = settings.heartbeat_tolerance()
    logs.show_once()
    # What `dagster-daemon run` does, which would not let its workspace be seen. SIGTERM ends it in order.
    setup_interrupt_handlers()
    target = WorkspaceFileTarget(paths=[str(settings.WORKSPACE)])
    woken, launches, anew = threading.Event(), Launches(), Anew()
    try:
        with (
            capture_interrupts(),
            DagsterInstance.get() as instance,
            Background(instance, launches, settings.HEALTH_FILE, tolerance) as background,
            run_queue.Listener(instance.run_storage.postgres_url, woken),
            daemon_controller_from_instance(
                instance, target, heartbeat_tolerance_seconds=tolerance, gen_daemons=loops.maker(woken, launches)
            ) as controller,
        ):
            workspace = controller._workspace_process_context.get_current_workspace
            background.tell(locations.LocationsFile(settings.LOCATIONS_FILE, workspace))
            background.watch(Clock(), anew.ask)
            controller.check_daemon_loop()
    except KeyboardInterrupt:
        pass
    anew.begin_if_asked()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
