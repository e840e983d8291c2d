"""`python -m webserver`: serve on the deployment's inner edge, until told to stop."""

import logging
import signal
import socket
import sys
from types import FrameType

import uvicorn
from dagster import DagsterInstance
from dagster._core.workspace.load_target import WorkspaceFileTarget

from access import AccessError, load_locations
from run_launcher import log_shipping
from run_launcher.log_bucket import BucketSettingError
from webserver import daemon_watch
from webserver.app import create_app
from webserver.audit import AuditLog
from webserver.context import ProcessContext
from webserver.gate import App
from webserver.identity import AccessFile
from webserver.settings import Settings, SettingsError, from_environment

logger = logging.getLogger("webserver")


def main() -> int:
    """Run the server; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # uvicorn hands the signal back when it has finished; leaving by an exception closes connections and threads.
    signal.signal(signal.SIGTERM, _leave)
    try:
        serve(from_environment())
    except (SettingsError, AccessError, BucketSettingError, OSError) as error:
        logger.error("%s", error)
        return 1
    return 0


def serve(settings: Settings) -> None:
    """Serve until a signal."""
    access = AccessFile(settings.access_file, load_locations(settings.workspace_file))
    audit = AuditLog(settings.audit_log)
    with bound(resolve(settings.host), settings.port) as listener, DagsterInstance.get() as instance:
        # What the command dagster-webserver does: statements time out, connections are renewed.
        instance.optimize_for_webserver(statement_timeout=15000, pool_recycle=3600, max_overflow=20)
        with ProcessContext(instance, WorkspaceFileTarget([str(settings.workspace_file)]), access) as process:
            app = create_app(process, access, settings.gateway_token, audit, banner_text=settings.banner)
            daemon_watch.start(instance)
            log_shipping.start(instance)
            logger.info("serving on http://%s:%d", *listener.getsockname())
            http_server(app).run(sockets=[listener])


def bound(address: str, port: int) -> socket.socket:
    """A socket on this one address. It does not listen yet: nobody waits in it while code locations are loaded."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise SettingsError(f"{address}:{port} cannot be served: {error.strerror}") from error
    return listener


def http_server(app: App) -> uvicorn.Server:
    """A server for this application."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # the gateway writes one
        proxy_headers=False,  # nobody's word about addresses counts here
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=1024 * 1024,
        timeout_graceful_shutdown=10,  # a browser keeps its WebSocket open for ever
    )
    return uvicorn.Server(config)


def resolve(host: str) -> str:
    """The one IPv4 address of this name.

    The name is an alias on the network to the gateway alone: runs share other networks with this container, and
    nothing listens there. Two addresses would mean that somebody else answers to the name as well.
    """
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise SettingsError(f"WEBSERVER_HOST {host!r} does not resolve: {error.strerror}") from error
    addresses = sorted({str(entry[4][0]) for entry in found})
    if len(addresses) != 1 or addresses == ["0.0.0.0"]:  # noqa: S104 this refuses it
        raise SettingsError(f"WEBSERVER_HOST {host!r} is {', '.join(addresses)}; expected one address of this machine")
    return addresses[0]


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    sys.exit(main())
