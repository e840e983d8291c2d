"""Alerts on their way: each is tried on each channel by itself, until it is taken or given up.

The box is data that its owner keeps (the sensor in its cursor, the webserver in memory), so a channel that is away
neither breaks the owner nor has another channel's alerts repeated.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from platform_kit.alerts.channels import Channel, ChannelError
from platform_kit.alerts.message import Alert

logger = logging.getLogger("alerts")

FIRST_PAUSE, LONGEST_PAUSE, ATTEMPTS = 30.0, 3600.0, 12  # half a day
MOST_WAITING = 200
# A sensor's tick is ended after a minute.
SECONDS_A_DELIVERY = 25.0


@dataclass
class Delivery:
    """One alert on its way to one channel; `due` in seconds since the epoch."""

    alert: Alert
    channel: str
    due: float = 0.0
    attempts: int = 0


@dataclass
class Outbox:
    """What is still to be delivered, oldest first."""

    waiting: list[Delivery] = field(default_factory=list)

    def add(self, alerts: Iterable[Alert], channels: Sequence[Channel]) -> None:
        """Put alerts in, once for each channel. Where too many wait, the oldest go: their channel is away for long."""
        self.waiting += [Delivery(alert, channel.name) for alert in alerts for channel in channels]
        lost = len(self.waiting) - MOST_WAITING
        if lost > 0:
            logger.error("%d alerts were not delivered: more than %d are waiting", lost, MOST_WAITING)
            del self.waiting[:lost]

    def deliver(self, channels: Sequence[Channel], clock: Callable[[], float] = time.time) -> None:
        """Try what is due. A channel that fails rests until the next call, for its other alerts would fail as well."""
        end = clock() + SECONDS_A_DELIVERY
        known, resting, left = {channel.name: channel for channel in channels}, set(), []
        for delivery in self.waiting:
            channel = known.get(delivery.channel)
            if channel is None:  # it is not configured any more
                continue
            now = clock()
            if delivery.due > now or now > end or channel.name in resting:
                left.append(delivery)
                continue
            try:
                channel.send(delivery.alert)
            except ChannelError as error:
                resting.add(channel.name)
                left += self._later(delivery, clock(), str(error))
        self.waiting = left

    @staticmethod
    def _later(delivery: Delivery, now: float, why: str) -> list[Delivery]:
        attempts = delivery.attempts + 1
        if attempts >= ATTEMPTS:
            logger.error("gave up on an alert after %d attempts: %s: %s", attempts, delivery.alert.subject, why)
            return []
        logger.warning("an alert was not delivered and will be tried again: %s", why)
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (attempts - 1))
        return [dataclasses.replace(delivery, attempts=attempts, due=now + pause)]

    def to_json(self) -> str:
        """As text, for a cursor."""
        return json.dumps([dataclasses.asdict(delivery) for delivery in self.waiting])

    @classmethod
    def from_json(cls, text: str) -> "Outbox":
        """From what `to_json` wrote."""
        waiting = [Delivery(**{**entry, "alert": _alert(entry["alert"])}) for entry in json.loads(text)]
        return cls(waiting)


def _alert(found: dict[str, list[list[str]]]) -> Alert:
    facts = tuple((name, value) for name, value in found["facts"])
    return Alert(**{**found, "facts": facts, "to": tuple(found["to"])})  # type: ignore[arg-type]
