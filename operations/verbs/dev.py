"""dev: the code locations on this machine, without Docker, for one developer."""

import tempfile
from pathlib import Path

from operations import locks, signals
from operations.context import Context
from operations.development import places, processes
from operations.development.locations import discover
from operations.development.places import Places
from operations.development.world import World
from operations.errors import StackError


def dev(context: Context, wanted: list[str], port: int) -> int:
    """Run until Ctrl-C."""
    found = discover(context.deployment.root, wanted)
    taken = context.host.port_problem("127.0.0.1", port)
    if taken:
        raise StackError(taken, "a free port for the webserver", f"end what has it, or ./stack dev --port {port + 1}")
    place = Places(context.deployment.root, places.developer())
    with locks.hold(place.home / "lock", "./stack dev", f"for {place.developer}"), signals.as_interrupts():
        place.make()
        # In /tmp, because a socket's path may have no more than 108 characters.
        with processes.adopting(), tempfile.TemporaryDirectory(prefix="stack-dev-") as sockets:
            world = World(context, place, found, port, Path(sockets))
            try:
                world.start()
                world.watch()
            except KeyboardInterrupt:
                context.report.say()
            finally:
                # A second Ctrl-C would leave processes behind; ending takes seconds.
                signals.ignore()
                with context.report.step("End all processes"):
                    world.end()
    return 0
