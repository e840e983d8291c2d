"""Notices that the daemon is dead, and tells: the daemon runs all sensors, so nothing that it runs could.

In return it writes down that the webserver lives, which a sensor of the location platform looks at.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from dagster import DagsterInstance

from platform_kit.alerts.channels import Channel, channels
from platform_kit.alerts.heartbeat import beat
from platform_kit.alerts.message import Alert
from platform_kit.alerts.outbox import Outbox
from platform_kit.alerts.settings import Settings, from_environment
from platform_kit.environment import SettingError

logger = logging.getLogger("webserver")

# Each of the daemon's threads writes each half minute, and one restart takes a minute on a busy machine. When none has
# written, the process is gone. One alone may be busy for long (a backfill of years); this is Dagster's own patience.
SILENT_SECONDS = 120.0
THREAD_SILENT_SECONDS = 1800.0
INTERVAL_SECONDS = 15.0


class DaemonWatch:
    """Compares the daemon's heartbeats with the clock. Its outbox is in memory: a restart forgets what waited."""

    def __init__(
        self,
        instance: DagsterInstance,
        receivers: Sequence[Channel],
        site: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._instance, self._channels, self._site, self._clock = instance, receivers, site, clock
        # Heartbeats of before a restart of everything are old; each daemon gets its time from here.
        self._since = clock()
        self._dead: set[str] = set()
        self._outbox = Outbox()
        self._stop = threading.Event()

    def look(self) -> None:
        """One look: write the webserver's own heartbeat, tell what has changed, deliver what waits."""
        now = self._clock()
        beat(self._instance, now)
        beats = self._instance.get_daemon_heartbeats()
        last = {kind: beats[kind].timestamp if kind in beats else 0.0 for kind in self._required()}
        silent = {kind: now - max(at, self._since) for kind, at in last.items()}
        patience = SILENT_SECONDS if min(silent.values(), default=0) > SILENT_SECONDS else THREAD_SILENT_SECONDS
        dead = {kind for kind, seconds in silent.items() if seconds > patience}
        if dead - self._dead:
            heard = max((last[kind] for kind in dead), default=0.0)
            at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(heard)) if heard else "never"
            facts = (("silent", ", ".join(sorted(dead))), ("last heard of", at), ("look at", "./stack doctor"))
            whole = len(dead) == len(last)
            what = (
                "The daemon is dead: no schedules, sensors or queued runs start"
                if whole
                else "A part of the daemon hangs"
            )
            self._tell(Alert(what, facts, self._site))
        elif self._dead and not dead:
            self._tell(Alert("The daemon is back", (), self._site))
        # While some are dead, those that return are not news, and are not told again when they go.
        self._dead = self._dead | dead if dead else set()
        self._outbox.deliver(self._channels, self._clock)

    def run(self) -> None:
        """Look again and again until stopped. A database that is away is no reason to end: it may come back first."""
        while not self._stop.wait(INTERVAL_SECONDS):
            try:
                self.look()
            except Exception:
                logger.exception("the watch over the daemon failed; it goes on")

    def stop(self) -> None:
        """End `run` at its next look."""
        self._stop.set()

    def _tell(self, alert: Alert) -> None:
        logger.warning("%s", alert.subject)
        self._outbox.add([alert], self._channels)

    def _required(self) -> Sequence[str]:
        return self._instance.get_required_daemon_types()


def start(instance: DagsterInstance) -> DaemonWatch:
    """Watch in a thread. Settings that are not legal switch off the sending, not the webserver."""
    try:
        settings = from_environment()
    except SettingError as error:
        logger.error("no alerts are sent: %s", error)
        settings = Settings(None, None, "")
    found = channels(settings)
    if not found:
        logger.info("alerts are off: neither secrets/alert_webhook_url nor SMTP_HOST is set")
    watch = DaemonWatch(instance, found, settings.site)
    threading.Thread(target=watch.run, name="daemon-watch", daemon=True).start()
    return watch
