"""The broker as a whole: put together, started, stopped."""

import time

from run_broker import confinement, sandbox, sockets
from run_broker.audit import Audit
from run_broker.engine import Engine
from run_broker.handlers import Handlers
from run_broker.http_message import MAX_BODY
from run_broker.identity import Identity
from run_broker.keeper import Keeper
from run_broker.reaper import Reaper
from run_broker.routes import describe
from run_broker.runs import Runs
from run_broker.server import CallerServer
from run_broker.settings import Settings
from run_broker.warm import Warm


class Broker:
    """One server a caller, and the reaper."""

    def __init__(self, engine: Engine, identity: Identity, settings: Settings, audit: Audit) -> None:
        """Put the parts together; nothing is bound yet."""
        self._settings = settings
        self._identity = identity
        self._audit = audit
        self.warm = Warm(engine, identity, audit)
        self.runs = Runs(engine, identity, self.warm, settings)
        self.keeper = Keeper(engine, identity, self.runs, self.warm, audit, settings)
        self.reaper = Reaper(engine, self.runs, audit, settings)
        handlers = Handlers(engine, self.runs, audit)
        self._servers = [
            CallerServer(caller, sockets.of_caller(settings.sockets_dir, caller), handlers, audit, settings)
            for caller in sockets.CALLERS
        ]

    def start(self) -> None:
        """Print the policy, then serve."""
        self._audit.log.write("policy", **policy(self._settings, self._identity))
        for server in self._servers:
            server.start()
        self.reaper.start()
        self.keeper.start()
        self._audit.log.write("started", project=self._identity.project)

    def stop(self) -> bool:
        """Accept nothing more and finish the requests under way; False when some took too long."""
        deadline = time.monotonic() + self._settings.broker_drain_timeout
        for server in self._servers:
            server.stop_listening()
        finished = [server.finish(deadline) for server in self._servers]
        self.reaper.stop()
        self.keeper.stop()
        self._audit.log.write("stopped", finished=all(finished))
        return all(finished)


def policy(settings: Settings, identity: Identity) -> dict[str, object]:
    """What the broker allows, as data."""
    return {
        "project": identity.project,
        "endpoints": describe(),
        "create_reads": ["Image", "Cmd", "Labels: dagster/run_id dagster/job_name code-location run.memory run.cpus"],
        "copied_from_code_server": ["User", "Env", "Binds", "Mounts", "SecurityOpt", "networks", *sandbox.COPIED],
        "forced": {**sandbox.FORCED, "no-new-privileges": True, "swap": 0},
        "never_mounted": [*confinement.ENGINE_PATHS, *sorted(identity.own_mounts)],
        "largest_body": MAX_BODY,
        "settings": settings.model_dump(mode="json"),
    }
