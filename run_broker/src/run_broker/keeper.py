"""Keeps as many warm containers as the locations' labels ask for, while nobody needs the machine for something else."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable

from run_broker.audit import Audit
from run_broker.create_request import LOCATION_LABEL, CreateRequest, read_arguments
from run_broker.engine import Engine, EngineError
from run_broker.engine_views import Container, Summary
from run_broker.identity import IMAGE_LABEL, WARM_LABEL, WARM_ROLE, Identity
from run_broker.machine import Processors, available_memory
from run_broker.refusal import Refusal
from run_broker.runs import LIVE, Runs
from run_broker.sandbox import Plan, plan_warm
from run_broker.settings import Settings
from run_broker.units import parse_timestamp
from run_broker.warm import Waiting, Warm

# Between two looks; a claim is followed by one as soon as it is quiet.
LOOK_SECONDS = 10.0
# Runs that were asked for in a burst take the processors for longer than the asking takes. So long without another, and
# they are no burst any more but work, which may go on for hours.
PATIENCE_SECONDS = 15.0
IDLE_PROCESSORS = 0.5
POLL_SECONDS = 0.5
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0
# How the last words of one that died are shown.
TAIL = {"stdout": "1", "stderr": "1", "tail": "20"}


class Keeper:
    """Makes, replaces and ends warm containers, in a thread of its own."""

    def __init__(
        self, engine: Engine, identity: Identity, runs: Runs, warm: Warm, audit: Audit, settings: Settings
    ) -> None:
        """Nothing happens before `start`."""
        self._engine, self._identity, self._runs = engine, identity, runs
        self._warm, self._audit, self._settings = warm, audit, settings
        self.clock: Callable[[], float] = time.time
        self.free_memory: Callable[[], int] = available_memory
        self.idle_processors: Callable[[], float] = Processors().idle
        # By location: what failed, how often in a row, and when it is tried again.
        self._failed: dict[str, tuple[str, int, float]] = {}
        self._learned = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking. What waits goes on waiting: the next broker takes it over."""
        self._stopping.set()
        self._warm.asked.set()
        self._thread.join(5)

    def look(self) -> None:
        """Take over, end and make what is to be taken over, ended and made now."""
        self._take_over()
        plans = self._plans()
        self._end_what_nobody_needs(plans)
        # Asked before any is made, for making one takes a processor.
        left = self._processors_are_left()
        for location, plan in plans.items():
            while left and self._lacks(location, plan) and not self._stopping.is_set():
                self._make(location, plan)
        idle = Counter(each.location for each in self._warm.waiting())
        for location in {*idle, *plans}:
            self._audit.metrics.set("run_broker_warm", idle[location], location=location)

    def _take_over(self) -> None:
        """Learn what an earlier broker knew; remove what died while it waited."""
        known = {each.id for each in self._warm.waiting()}
        rows = self._engine.list_containers(self._identity.run_labels(WARM_ROLE), every=True)
        waiting = [row for row in rows if any(self._identity.waits(name, row.labels) for name in row.names)]
        if not self._learned:
            for row in sorted([*waiting, *self._runs.list_runs()], key=lambda row: -row.created):
                self._learn(row)
            self._learned = True
        for row in waiting:
            if row.id in known and row.state == "running":
                continue
            found = self._engine.inspect(row.id)
            # A claim may have come in between, and given it another name.
            if found is None or not self._identity.waits(found.name, found.config.labels):
                continue
            if not found.state.running and found.state.status != "created":
                self._bury(found)
            elif row.id not in known:
                self._adopt(found)

    def _learn(self, row: Summary) -> None:
        location = row.labels.get(LOCATION_LABEL, "")
        found = None if location in self._warm.examples() else self._engine.inspect(row.id)
        if found is None or not found.config.cmd:
            return
        try:
            run_id, instance = read_arguments(found.config.cmd[-1])
        except Refusal:
            return
        image = found.config.labels.get(IMAGE_LABEL, "")
        self._warm.learn(CreateRequest(run_id, "warm", location, image, found.config.cmd[-1], instance), asked=False)

    def _adopt(self, found: Container) -> None:
        labels = found.config.labels
        since = parse_timestamp(found.created) or self.clock()
        # One that was created and not started would never answer: too old for everything.
        digest = labels.get(WARM_LABEL, "") if found.state.running else ""
        self._warm.add(Waiting(found.id, labels.get(LOCATION_LABEL, ""), digest, since))

    def _bury(self, found: Container) -> None:
        """One that died: say why, and try again later and later, for the next will likely do the same."""
        location, digest = found.config.labels.get(LOCATION_LABEL, ""), found.config.labels.get(WARM_LABEL, "")
        self._warm.take([found.id])
        words = b"".join(_texts(self._engine.logs(found.id, TAIL, 8192))).decode("utf-8", "replace")
        self._engine.remove(found.id)
        before = self._failed.get(location, ("", 0, 0.0))
        times = before[1] + 1 if before[0] == digest else 1
        pause = min(FIRST_PAUSE * 2 ** (times - 1), LONGEST_PAUSE)
        self._failed[location] = (digest, times, self.clock() + pause)
        self._tell("died", location, found.id, times=times, exit_code=found.state.exit_code, output=words[-2000:])

    def _plans(self) -> dict[str, Plan]:
        """What each location's next run would be made from; those that cannot have one now are left out."""
        plans = {}
        for location, example in self._warm.examples().items():
            try:
                plans[location] = self._runs.plan_next(example)
            except Refusal:
                continue
        return plans

    def _end_what_nobody_needs(self, plans: dict[str, Plan]) -> None:
        short = self.free_memory() < self._settings.run_warm_min_free // 2
        room = 0 if short else self._settings.run_warm_max
        kept: Counter[str] = Counter()
        # The youngest stay.
        for each in reversed(self._warm.waiting()):
            plan = plans.get(each.location)
            if plan is None or each.digest != plan.warm:
                why = "changed"
            elif self.clock() - each.since >= self._settings.run_warm_max_age:
                why = "old"
            elif kept[each.location] >= plan.keep or kept.total() >= room:
                why = "memory" if short else "too-many"
            else:
                kept[each.location] += 1
                continue
            if self._warm.take([each.id]):
                self._warm.discard(each.id)
                self._tell(why, each.location, each.id)

    def _lacks(self, location: str, plan: Plan) -> bool:
        waiting = self._warm.waiting()
        failed = self._failed.get(location)
        return (
            sum(each.location == location for each in waiting) < plan.keep
            and len(waiting) < self._settings.run_warm_max
            and not (failed and failed[0] == plan.warm and self.clock() < failed[2])
            and self._is_quiet()
            # A machine that is short makes nothing in advance.
            and self.free_memory() >= self._settings.run_warm_min_free
            and sum(row.state in LIVE for row in self._runs.list_runs()) + len(waiting) < self._settings.run_max_live
        )

    def _is_quiet(self) -> bool:
        return self._warm.quiet() >= self._settings.run_warm_quiet

    def _processors_are_left(self) -> bool:
        """A burst of runs has them for itself, until its runs have started."""
        return self.idle_processors() >= IDLE_PROCESSORS or self._warm.quiet() >= PATIENCE_SECONDS

    def _make(self, location: str, run: Plan) -> None:
        plan = plan_warm(run, location, str(uuid.uuid4()), self._identity)
        identifier = self._runs.make(plan)
        self._warm.add(Waiting(identifier, location, run.warm, self.clock()))
        self._engine.start(identifier)
        self._tell("made", location, identifier)

    def _tell(self, decision: str, location: str, identifier: str, **more: object) -> None:
        self._audit.metrics.count("run_broker_warm_total", decision=decision)
        self._audit.log.write("warm", decision=decision, location=location, container=identifier[:12], **more)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except (EngineError, Refusal) as error:
                self._audit.log.write("warm", decision="failed", message=str(error))
            self._warm.asked.wait(LOOK_SECONDS)
            self._warm.asked.clear()
            latest = time.monotonic() + LOOK_SECONDS
            while not (self._processors_are_left() and self._is_quiet()) and time.monotonic() < latest:
                if self._stopping.wait(POLL_SECONDS):
                    return


def _texts(frames: bytes) -> list[bytes]:
    """The payloads of the engine's multiplexed output."""
    texts, at = [], 0
    while at + 8 <= len(frames):
        size = int.from_bytes(frames[at + 4 : at + 8], "big")
        texts.append(frames[at + 8 : at + 8 + size])
        at += 8 + size
    return texts
