"""How the location platform knows that the webserver lives: a moment that the webserver writes into Dagster's storage.

No location can reach the webserver over the network, and only webserver and daemon may write this table.
"""

from typing import Any

WEBSERVER = "webserver/alive"


def beat(instance: Any, now: float) -> None:
    """Write that the webserver was alive at `now`, in seconds since the epoch."""
    instance.run_storage.set_cursor_values({WEBSERVER: str(now)})
