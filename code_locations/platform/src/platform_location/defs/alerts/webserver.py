"""The webserver watches the daemon, and this location the webserver: each is looked after by the other's process."""

import time

import dagster as dg

from platform_kit.alerts.heartbeat import WEBSERVER
from platform_kit.alerts.message import Alert

SILENT_SECONDS = 300.0


def silent_since(instance: dg.DagsterInstance, now: float | None = None) -> float | None:
    """When the webserver was last heard of, if that is long ago. One that never was is not watched yet."""
    text = instance.run_storage.get_cursor_values({WEBSERVER}).get(WEBSERVER)
    last = float(text) if text else None
    return last if last is not None and (now or time.time()) - last > SILENT_SECONDS else None


def alerts(silent: float | None, was_silent: bool, site: str) -> list[Alert]:
    """An alert when it falls silent, and one when it is heard again."""
    if (silent is not None) == was_silent:
        return []
    if silent is None:
        return [Alert("The webserver is back", link=site)]
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(silent))
    return [Alert("The webserver is silent", (("last heard of", at), ("look at", "./stack doctor")), site)]
