"""Promise: what goes wrong in any location is told once, to the deployment and to whom the location names."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.events import DagsterEvent
from platform_location.defs.alerts import events
from platform_location.defs.alerts.sensor import LATE_EVERY_SECONDS, OFF, State, alerts, few, look
from platform_location.defs.alerts.webserver import SILENT_SECONDS
from sqlalchemy import text

from platform_kit.alerts import AlertPolicy, as_metadata, as_run_tags
from platform_kit.alerts.channels import ChannelError
from platform_kit.alerts.heartbeat import beat
from platform_kit.alerts.message import Alert
from platform_kit.alerts.outbox import Outbox

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
SITE = "https://dagster.example"
INGESTION = {"dagster/code_location": "ingestion"}


@pytest.fixture(scope="module")
def log() -> Iterator[dg.DagsterInstance]:
    """One event log for all tests: each looks at what is new to it."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def instance(log: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    """The log, where an event is looked at as soon as it is there."""
    monkeypatch.setattr(events, "SETTLED_SECONDS", 0.0)
    return log


@pytest.fixture
def state(instance: dg.DagsterInstance) -> State:
    """That of a sensor that has seen all there is, and has just looked for late assets."""
    kinds = ("RUN_FAILURE", "ASSET_CHECK_EVALUATION", "FRESHNESS_STATE_CHANGE")
    return State(seen=dict.fromkeys(kinds, events.newest(instance)), late_looked_at=time.time())


def run(instance: dg.DagsterInstance, definition: Any, tags: dict[str, str] | None = None) -> str:
    """Materialise an asset, or all of several; the run's id, however it ended."""
    assets = definition if isinstance(definition, list) else [definition]
    done = dg.materialize(assets, instance=instance, tags={**INGESTION, **(tags or {})}, raise_on_error=False)
    return done.run_id


@dg.asset(key=["ingestion", "raw", "flights"])
def broken() -> None:
    """Fails with a password in its error."""
    try:
        raise ConnectionError("no route")
    except ConnectionError as error:
        raise ValueError("first line\nbroken: password=hunter2 <!channel>") from error


def told(found: list[Alert]) -> str:
    """All texts."""
    return "\n\n".join(alert.text for alert in found)


def test_a_failed_run_is_told_with_location_asset_cause_and_link(instance: dg.DagsterInstance, state: State) -> None:
    failed = run(instance, broken, {"user": "dana"})
    (alert,) = look(instance, state, SITE)
    assert alert.subject == "ingestion: run failed: ingestion/raw/flights"
    assert alert.link == f"{SITE}/runs/{failed}"
    assert "step: ingestion__raw__flights" in alert.text
    assert "error: ConnectionError: no route" in alert.text
    assert "launched by: dana" in alert.text


def test_it_is_told_once(instance: dg.DagsterInstance, state: State) -> None:
    failed = run(instance, broken)
    assert len(look(instance, state, SITE)) == 1
    assert look(instance, state, SITE) == []
    # Monitoring reports an end that the run has reported already.
    done = instance.get_run_by_id(failed)
    assert done
    instance.report_run_failed(done, "the container is gone")
    assert look(instance, State(**json.loads(json.dumps(vars(state)))), SITE) == []


def test_a_forged_failure_is_not_told_and_silences_nothing(instance: dg.DagsterInstance, state: State) -> None:
    """Any location can write events about another's run, before it ends."""
    told_early: list[Alert] = []

    @dg.asset(key=["ingestion", "raw", "planes"])
    def forged_at(context: dg.AssetExecutionContext) -> None:
        event = DagsterEvent(event_type_value="PIPELINE_FAILURE", job_name="forged", message="forged")
        entry = dg.EventLogEntry(None, 20, "", context.run.run_id, time.time(), job_name="forged", dagster_event=event)
        instance.event_log_storage.store_event(entry)
        told_early.extend(look(instance, state, SITE))
        raise RuntimeError("the true cause")

    run(instance, forged_at)
    assert told_early == []
    assert "error: RuntimeError: the true cause" in told(look(instance, state, SITE))


def test_many_runs_of_a_job_are_one_alert(instance: dg.DagsterInstance, state: State) -> None:
    for _ in range(3):
        run(instance, broken)
    (alert,) = look(instance, state, SITE)
    assert "runs: 3 failed; the first is" in alert.text


def test_a_run_that_will_be_retried_is_not_told(instance: dg.DagsterInstance, state: State) -> None:
    run(instance, broken, {"dagster/will_retry": "true"})
    assert look(instance, state, SITE) == []
    run(instance, broken, {"dagster/will_retry": "false"})
    assert len(look(instance, state, SITE)) == 1


def test_a_run_that_succeeds_is_not_told(instance: dg.DagsterInstance, state: State) -> None:
    @dg.asset
    def fine() -> None: ...

    run(instance, fine)
    assert look(instance, state, SITE) == []


def test_an_event_waits_until_those_before_it_are_surely_there(
    instance: dg.DagsterInstance, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "SETTLED_SECONDS", 3600.0)
    run(instance, broken)
    assert look(instance, state, SITE) == []
    monkeypatch.setattr(events, "SETTLED_SECONDS", 0.0)
    assert len(look(instance, state, SITE)) == 1


def test_run_tags_and_the_asset_name_more_receivers(instance: dg.DagsterInstance, state: State) -> None:
    of_asset = as_metadata([AlertPolicy(when="failure", to=["ana@example.org"])])

    @dg.asset
    def sometimes(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        if context.run.tags.get("fail"):
            raise RuntimeError("asked to")
        return dg.MaterializeResult(metadata=of_asset)

    run(instance, sometimes)
    of_job = [AlertPolicy(when="failure", to=["bob@example.org"]), AlertPolicy(when="check_failed", to=["c@x.org"])]
    run(instance, sometimes, {"fail": "yes", **as_run_tags(of_job)})
    (alert,) = look(instance, state, SITE)
    assert alert.to == ("ana@example.org", "bob@example.org")


@pytest.mark.parametrize(
    "policies", ["{", '[{"when": "failure", "to": ["a@x.org\\nBcc: e@evil.example"]}]', "[" * 9999]
)
def test_policies_that_are_none_do_not_keep_the_alert_back(
    instance: dg.DagsterInstance, state: State, policies: str
) -> None:
    run(instance, broken, {"alerts/policies": policies})
    (alert,) = look(instance, state, SITE)
    assert alert.to == ()


FORGED = [
    "{",
    "null",
    "[" * 100_000,
    '{"__class__": "NoSuchThing"}',
    '{"__class__": "EventLogEntry"}',
    '{"__class__": "EventLogEntry", "run_id": 7, "timestamp": "now", "dagster_event": {"__class__": "DagsterEvent"}}',
    '{"__class__": "EventLogEntry", "error_info": null, "level": 10, "user_message": "", "run_id": "none",'
    ' "step_key": null, "timestamp": 1.0, "job_name": "x", "dagster_event": null}',
]


@pytest.mark.parametrize("at", ["'2026-01-01'", "'2999-01-01'", "NULL"])
@pytest.mark.parametrize("body", FORGED)
def test_a_forged_event_does_not_stop_alerts(instance: dg.DagsterInstance, state: State, body: str, at: str) -> None:
    run(instance, broken)  # before the forged event, and told all the same
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        for kind in ("PIPELINE_FAILURE", "ASSET_CHECK_EVALUATION", "FRESHNESS_STATE_CHANGE"):
            values = {"body": body, "kind": kind}
            insert = (
                "INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp)"
                f" VALUES ('forged', :body, :kind, {at})"
            )
            connection.execute(text(insert), values)
        connection.commit()
    assert "run failed" in told(look(instance, state, SITE))
    run(instance, broken)
    assert "run failed" in told(look(instance, state, SITE))


def test_an_asset_whose_last_event_is_forged_does_not_stop_alerts(
    instance: dg.DagsterInstance, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("forged"))
    update = (
        'UPDATE asset_keys SET last_materialization = \'{"__class__": "NoSuchThing"}\' WHERE asset_key = \'["forged"]\''
    )
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        assert connection.execute(text(update)).rowcount == 1
        connection.commit()
    policy = AlertPolicy(when="late", to=["webhook"], after_hours=1 / 3600 / 1e6)
    instance.report_runless_asset_event(dg.AssetMaterialization("punctual", metadata=as_metadata([policy])))
    state.late_looked_at = 0
    run(instance, broken)
    text_of_all = told(look(instance, state, SITE))
    assert "run failed" in text_of_all
    assert "punctual: late: punctual" in text_of_all
    instance.report_runless_asset_event(dg.AssetMaterialization("punctual"))
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        connection.execute(text("DELETE FROM asset_keys WHERE asset_key = '[\"forged\"]'"))
        connection.commit()


@pytest.mark.parametrize("key", ["[1]", "[[]]", '["a", null]', "nonsense"])
def test_a_row_that_is_no_asset_key_does_not_stop_alerts(instance: dg.DagsterInstance, state: State, key: str) -> None:
    policy = AlertPolicy(when="late", to=["webhook"], after_hours=1 / 3600 / 1e6)
    instance.report_runless_asset_event(dg.AssetMaterialization("belated", metadata=as_metadata([policy])))
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        connection.execute(text("INSERT INTO asset_keys (asset_key) VALUES (:key)"), {"key": key})
        connection.commit()
    try:
        state.late_looked_at = 0
        assert "belated: late: belated" in told(look(instance, state, SITE))
    finally:
        with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
            connection.execute(text("DELETE FROM asset_keys WHERE asset_key = :key"), {"key": key})
            connection.commit()
        instance.report_runless_asset_event(dg.AssetMaterialization("belated"))


def test_a_materialisation_of_no_time_does_not_stop_alerts(instance: dg.DagsterInstance, state: State) -> None:
    policy = AlertPolicy(when="late", to=["webhook"], after_hours=1 / 3600 / 1e6)
    for name in ("timeless", "timely"):
        instance.report_runless_asset_event(dg.AssetMaterialization(name, metadata=as_metadata([policy])))
    update = "UPDATE asset_keys SET last_materialization = :event WHERE asset_key = '[\"timeless\"]'"
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        found = connection.execute(
            text("SELECT last_materialization FROM asset_keys WHERE asset_key LIKE '%timeless%'")
        )
        body = json.loads(found.scalar())
        entry = body.get("event_log_entry", body)
        entry["timestamp"] = -1e18
        assert connection.execute(text(update), {"event": json.dumps(body)}).rowcount == 1
        connection.commit()
    state.late_looked_at = 0
    assert "timely: late: timely" in told(look(instance, state, SITE))
    for name in ("timeless", "timely"):
        instance.report_runless_asset_event(dg.AssetMaterialization(name))


@pytest.mark.parametrize("path", [[], [""], ["a\u0000"], ["\ud800"]])
def test_a_failed_check_of_no_asset_does_not_hide_the_others(
    instance: dg.DagsterInstance, state: State, path: list[str]
) -> None:
    done = dg.materialize(checked(False), instance=instance, tags=INGESTION, raise_on_error=False)
    select_one = (
        "SELECT event, dagster_event_type FROM event_logs WHERE run_id = :run AND dagster_event_type = "
        "'ASSET_CHECK_EVALUATION'"
    )
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        body, kind = connection.execute(text(select_one), {"run": done.run_id}).one()
        forged = body.replace('["ingestion", "raw", "weather"]', json.dumps(path))
        assert forged != body
        insert = (
            "INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp) VALUES ('x', :body, :kind, NULL)"
        )
        connection.execute(text(insert), {"body": forged, "kind": kind})
        connection.commit()
    assert "ingestion: check failed: balance of ingestion/raw/weather" in told(look(instance, state, SITE))


def checked(passed: bool, **result: Any) -> list[Any]:
    """An asset with a check."""

    @dg.asset(key=["ingestion", "raw", "weather"])
    def weather() -> None: ...

    @dg.asset_check(asset=weather)
    def balance() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passed, **result)

    return [weather, balance]


def test_a_failed_check_is_told_with_what_it_found(instance: dg.DagsterInstance, state: State) -> None:
    policy = AlertPolicy(when="check_failed", to=["ana@example.org"])
    metadata = {"rows": 3, "source_rows": 4, **as_metadata([policy])}
    done = run(instance, checked(passed=False, metadata=metadata, severity=dg.AssetCheckSeverity.WARN))
    (alert,) = look(instance, state, SITE)
    assert alert.subject == "ingestion: check failed: balance of ingestion/raw/weather"
    assert "result: rows = 3, source_rows = 4" in alert.text
    assert "check: balance, WARN" in alert.text
    assert alert.to == ("ana@example.org",)
    assert alert.link.endswith(done)
    assert look(instance, state, SITE) == []


def test_a_check_that_passed_is_not_told(instance: dg.DagsterInstance, state: State) -> None:
    run(instance, checked(passed=True))
    assert look(instance, state, SITE) == []


def test_an_asset_is_late_once_until_it_is_made_again(instance: dg.DagsterInstance, state: State) -> None:
    def make() -> None:
        policy = AlertPolicy(when="late", to=["ana@example.org"], after_hours=1 / 3600 / 1e6)
        made = dg.AssetMaterialization(["analytics", "marts", "delays"], metadata=as_metadata([policy]))
        instance.report_runless_asset_event(made)

    def after_a_while() -> list[Alert]:
        state.late_looked_at -= 2 * LATE_EVERY_SECONDS
        return look(instance, state, SITE)

    make()
    (alert,) = after_a_while()
    assert alert.subject == "analytics: late: analytics/marts/delays"
    assert alert.link == f"{SITE}/assets/analytics/marts/delays"
    assert alert.to == ("ana@example.org",)
    assert after_a_while() == []
    make()
    assert len(after_a_while()) == 1
    instance.report_runless_asset_event(dg.AssetMaterialization(["analytics", "marts", "delays"]))  # without a policy
    assert after_a_while() == []


def test_an_asset_in_time_is_not_late(instance: dg.DagsterInstance, state: State) -> None:
    state.late_looked_at = 0
    look(instance, state, SITE)
    policy = AlertPolicy(when="late", to=["webhook"], after_hours=30)
    instance.report_runless_asset_event(dg.AssetMaterialization("a", metadata=as_metadata([policy])))
    instance.report_runless_asset_event(dg.AssetMaterialization("b"))
    state.late_looked_at = 0
    assert look(instance, state, SITE) == []


def test_a_freshness_policy_that_fails_is_told(instance: dg.DagsterInstance, state: State) -> None:
    for before, after in ((FreshnessState.PASS, FreshnessState.FAIL), (FreshnessState.FAIL, FreshnessState.PASS)):
        change = FreshnessStateChange(
            key=dg.AssetKey(["ingestion", "raw", "flights"]),
            previous_state=before,
            new_state=after,
            state_change_timestamp=time.time(),
        )
        instance._report_runless_asset_event(change)
    (alert,) = look(instance, state, SITE)
    assert alert.subject == "ingestion: late: ingestion/raw/flights"


def test_a_silent_webserver_is_told_once_and_so_is_its_return(instance: dg.DagsterInstance, state: State) -> None:
    assert look(instance, state, SITE) == []  # none has ever been heard of
    beat(instance, time.time() - SILENT_SECONDS - 60)
    assert told(look(instance, state, SITE)).startswith("The webserver is silent")
    assert look(instance, state, SITE) == []
    beat(instance, time.time())
    assert told(look(instance, state, SITE)).startswith("The webserver is back")
    assert look(instance, state, SITE) == []


def test_a_location_that_floods_leaves_the_others_their_place() -> None:
    flood = [Alert(f"probe: check failed: {n}") for n in range(500)]
    kept = few([*flood, Alert("ingestion: run failed: daily")], SITE)
    assert len(kept) == 12
    assert [alert.title for alert in kept[10:]] == ["ingestion: run failed: daily", "probe: 490 more alerts"]


def flooded(ticks: int, known: tuple[str, ...], title: str = "{tick}-{n}: check failed") -> list[str]:
    """Titles of what waits for two channels that are away, while one location floods, after `ingestion` failed once."""
    outbox, away = Outbox(), (Away("webhook"), Away("mail"))
    outbox.add(few([Alert("ingestion: run failed: daily")], SITE, (), known), away)
    for tick in range(ticks):
        flood = [Alert(title.format(tick=tick, n=n)) for n in range(300)]
        outbox.add(few(flood, SITE, outbox.waiting, known), away)
    return [delivery.alert.title for delivery in outbox.waiting]


@dataclass
class Away:
    """A channel that nothing is delivered by."""

    name: str

    def send(self, alert: Alert) -> None:
        raise ChannelError(f"away: {alert.title}")


@pytest.mark.parametrize(
    "title",
    ["{tick}-{n}: check failed", "reporting: check failed: {tick}-{n}"],
    ids=["in the name of made-up assets", "in its own name"],
)
def test_a_flood_of_many_ticks_leaves_what_waits_of_others(title: str) -> None:
    known = ("ingestion", "analytics", "eta", "reporting", "platform")
    waiting = flooded(50, known, title)
    assert waiting.count("ingestion: run failed: daily") == 2
    assert len(waiting) <= 2 * 13
    assert len([each for each in waiting if "more alerts" in each]) == 2


def test_many_locations_that_flood_at_once_leave_what_waits_of_others() -> None:
    known = ("ingestion", *(f"team_{n}" for n in range(40)))
    outbox, away = Outbox(), (Away("webhook"), Away("mail"))
    outbox.add(few([Alert("ingestion: run failed: daily")], SITE, (), known), away)
    for tick in range(20):
        flood = [Alert(f"{name}: check failed: {tick}-{n}") for name in (*known[1:], "made_up") for n in range(30)]
        outbox.add(few(flood, SITE, outbox.waiting, known), away)
    assert [each.alert.title for each in outbox.waiting].count("ingestion: run failed: daily") == 2


class Hook(BaseHTTPRequestHandler):
    """A webhook that keeps what it gets in its server."""

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))  # type: ignore[attr-defined]
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.got, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("ALERT_WEBHOOK_URL", f"http://127.0.0.1:{server.server_address[1]}/hook")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def tick(instance: dg.DagsterInstance, cursor: str | None) -> tuple[str, str]:
    """One evaluation: its cursor and what it said."""
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        done = alerts.evaluate_tick(context)
    return str(done.cursor), str(done.skip_message)


def test_the_sensor_sends_what_is_new_and_nothing_older(instance: dg.DagsterInstance, hook: Any) -> None:
    run(instance, broken)  # before the deployment's first tick
    cursor, said = tick(instance, None)
    assert said == "0 alerts, 0 waiting to be delivered"
    failed = run(instance, broken)
    cursor, said = tick(instance, cursor)
    assert said == "1 alerts, 0 waiting to be delivered"
    (got,) = hook.got
    assert failed in got["text"]
    assert "hunter2" not in got["text"]
    tick(instance, cursor)
    assert len(hook.got) == 1


def test_a_receiver_that_is_away_neither_fails_the_tick_nor_loses_the_alert(
    instance: dg.DagsterInstance, hook: Any
) -> None:
    cursor, _ = tick(instance, None)
    hook.status = 503
    run(instance, broken)
    cursor, said = tick(instance, cursor)
    assert said == "1 alerts, 1 waiting to be delivered"
    waiting = json.loads(json.loads(cursor)["outbox"])
    waiting[0]["due"] = 0
    hook.status = 200
    cursor, said = tick(instance, json.dumps({**json.loads(cursor), "outbox": json.dumps(waiting)}))
    assert said == "0 alerts, 0 waiting to be delivered"
    assert len(hook.got) == 2


def test_without_receivers_it_says_so(instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture) -> None:
    cursor, said = tick(instance, None)
    run(instance, broken)
    cursor, said = tick(instance, cursor)
    assert said == OFF
    assert [record.getMessage() for record in caplog.records if record.name == "alerts"].count(OFF) <= 1
    assert json.loads(cursor)["outbox"] == "[]"
