"""`python -m run_broker` serves."""

import os
import signal
import socket
import sys
import threading
import time

from run_broker.audit import Audit, Log, Metrics
from run_broker.broker import Broker
from run_broker.engine import Engine, EngineUnreachableError
from run_broker.identity import Identity, IdentityError, find_identity
from run_broker.settings import Settings, SettingsError

STARTUP_SECONDS = 30.0


def main(arguments: list[str]) -> int:
    """Run a command; its exit code."""
    if arguments:
        print("usage: python -m run_broker", file=sys.stderr)
        return 2
    try:
        settings = Settings.from_environment(os.environ)
        return serve(settings)
    except (SettingsError, IdentityError) as error:
        print(f"run_broker: {error}", file=sys.stderr)
        return 2


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, then finish what is under way."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # As process 1 of a container, an unhandled SIGTERM would be ignored.
        signal.signal(number, lambda *_: stopping.set())
    audit = Audit(Log(), Metrics())
    engine = Engine(settings.engine_socket, settings.broker_engine_timeout)
    broker = Broker(engine, _identify(engine, settings, audit, stopping), settings, audit)
    broker.start()
    stopping.wait()
    return 0 if broker.stop() else 1


def _identify(engine: Engine, settings: Settings, audit: Audit, stopping: threading.Event) -> Identity:
    """Wait for the engine, which may still be busy with its own start."""
    deadline = time.monotonic() + STARTUP_SECONDS
    while True:
        try:
            return find_identity(engine, settings.project, socket.gethostname())
        except EngineUnreachableError as error:
            if time.monotonic() >= deadline:
                raise IdentityError(f"no engine on {settings.engine_socket}: {error.message}") from error
            audit.log.write("waiting", reason="engine-unreachable", message=error.message)
            if stopping.wait(1.0):
                raise IdentityError("stopped before the engine answered") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
