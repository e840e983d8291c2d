"""The one sensor that looks at everything and sends."""

import dataclasses
import json
import logging
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import dagster as dg

from platform_kit import environment
from platform_kit.alerts.channels import channels
from platform_kit.alerts.message import Alert
from platform_kit.alerts.outbox import MOST_WAITING, Delivery, Outbox
from platform_kit.alerts.settings import from_environment
from platform_location import deployment
from platform_location.defs.alerts import checks, events, failures, late, webserver

logger = logging.getLogger("alerts")

OFF = "alerts are off: neither secrets/alert_webhook_url nor SMTP_HOST is set"
LOCAL = environment.current("platform").kind is environment.Kind.LOCAL
LATE_EVERY_SECONDS = 300.0
MOST_AT_ONCE = 10
# A webhook and mail: each alert waits once for each.
CHANNELS = 2
KINDS = ("RUN_FAILURE", "ASSET_CHECK_EVALUATION", "FRESHNESS_STATE_CHANGE")


@dataclass
class State:
    """What the sensor remembers from tick to tick, as its cursor."""

    # The number of the last event that was looked at, by kind.
    seen: dict[str, int] = field(default_factory=dict)
    # Runs whose failure has been told: two processes may report one run's end.
    told: list[str] = field(default_factory=list)
    late: dict[str, int] = field(default_factory=dict)
    late_looked_at: float = 0.0
    webserver_silent: bool = False
    outbox: str = "[]"


@dg.sensor(
    name="alerts",
    minimum_interval_seconds=30,
    # A developer's own failures are no news to anybody.
    default_status=dg.DefaultSensorStatus.STOPPED if LOCAL else dg.DefaultSensorStatus.RUNNING,
    description="Tells by webhook and mail of failed runs, failed checks, late assets, and a silent webserver.",
)
def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Look at what is new, put alerts in the outbox, deliver what is due."""
    settings = from_environment()
    found = channels(settings)
    state = State(**json.loads(context.cursor)) if context.cursor else _begin(context.instance)
    new = look(context.instance, state, settings.site)
    outbox = Outbox.from_json(state.outbox)
    outbox.add(few(new, settings.site, outbox.waiting, _locations()), found)
    outbox.deliver(found)
    state.outbox = outbox.to_json()
    said = f"{len(new)} alerts, {len(outbox.waiting)} waiting to be delivered" if found else _off()
    return dg.SensorResult(skip_reason=dg.SkipReason(said), cursor=json.dumps(dataclasses.asdict(state)))


def look(instance: dg.DagsterInstance, state: State, site: str) -> list[Alert]:
    """What is new since the state, which moves on."""
    new: list[Alert] = []
    for kind in KINDS:
        found = events.new(instance, dg.DagsterEventType[kind], state.seen[kind])
        state.seen[kind] = found.last
        if found.unreadable:
            logger.warning("%d events of kind %s cannot be read", found.unreadable, kind)
        if found.records:
            new += events.guarded(partial(_of_kind, instance, kind, found.records, state, site), [])
    if time.time() - state.late_looked_at > LATE_EVERY_SECONDS:
        over, state.late = events.guarded(partial(late.by_policy, instance, state.late, site), ([], state.late))
        state.late_looked_at = time.time()
        new += over
    silent = webserver.silent_since(instance)
    new += webserver.alerts(silent, state.webserver_silent, site)
    state.webserver_silent = silent is not None
    return new


def few(new: list[Alert], site: str, waiting: Sequence[Delivery] = (), known: Collection[str] = ()) -> list[Alert]:
    """The first alerts of each location, and how many more there are: one that floods does not push out the others'.

    What waits of a location already counts, so that a flood of many ticks fills no more than a location's share. Events
    name assets, and any location may make names up: whatever is none of the `known` locations has one share together.
    """
    shares = len(known) + 2  # theirs, that of made-up names, and the deployment's own alerts
    most = max(1, min(MOST_AT_ONCE, MOST_WAITING // (CHANNELS * shares) - 1))
    by_location: dict[str, list[Alert]] = defaultdict(list)
    for alert in new:
        by_location[_whose(alert, known)].append(alert)
    there = {name: {each.alert for each in waiting if _whose(each.alert, known) == name} for name in by_location}
    kept, more = [], []
    for name, found in by_location.items():
        place = max(0, most - len(there[name]))
        kept += found[:place]
        rest = len(found) - place
        if rest > 0 and len(there[name]) <= most:
            more.append(Alert(f"{name}: {rest} more alerts", link=f"{site}/runs"))
        elif rest > 0:
            logger.warning("%d more alerts of %s are not told: as many as may are waiting", rest, name)
    return [*kept, *more]


def _whose(alert: Alert, known: Collection[str]) -> str:
    """The location that an alert is about, by its title."""
    name, colon, _ = alert.title.partition(":")
    if not colon:
        return "the deployment"
    return name if name in known or not known else "unknown locations"


def _of_kind(
    instance: dg.DagsterInstance, kind: str, records: Sequence[dg.EventLogRecord], state: State, site: str
) -> list[Alert]:
    if kind == "RUN_FAILURE":
        found = failures.alerts(instance, records, site, state.told)
        state.told = state.told[-events.AT_ONCE :]
        return found
    return (checks.alerts if kind == "ASSET_CHECK_EVALUATION" else late.by_freshness)(instance, records, site)


def _begin(instance: dg.DagsterInstance) -> State:
    """The first tick of all: what has failed before is history."""
    return State(seen=dict.fromkeys(KINDS, events.newest(instance)))


def _locations() -> tuple[str, ...]:
    """The locations of the deployment; none where they are not known, as on a laptop."""
    return deployment.current().plan.locations


@cache
def _off() -> str:
    """What a tick says without channels; the log of the code server has it once."""
    logger.warning(OFF)
    return OFF
