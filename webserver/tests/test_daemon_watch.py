"""Promise: a daemon that dies is told within minutes, once, by the one process that does not need it."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from dagster import DagsterInstance, instance_for_test
from dagster._daemon.types import DaemonHeartbeat

from platform_kit.alerts.channels import ChannelError
from platform_kit.alerts.heartbeat import WEBSERVER
from platform_kit.alerts.message import Alert
from webserver import daemon_watch
from webserver.daemon_watch import SILENT_SECONDS, THREAD_SILENT_SECONDS, DaemonWatch


class Receiver:
    """A channel that keeps what it gets, or is away."""

    name = "webhook"

    def __init__(self) -> None:
        self.got: list[str] = []
        self.away = False

    def send(self, alert: Alert) -> None:
        if self.away:
            raise ChannelError("away")
        self.got.append(alert.text)


class Watched:
    """A watch with a clock that the test moves."""

    def __init__(self, instance: DagsterInstance) -> None:
        self.instance, self.receiver, self.now = instance, Receiver(), 1_000_000.0
        self.watch = DaemonWatch(instance, [self.receiver], "https://dagster.example", lambda: self.now)

    def beat(self, *kinds: str) -> None:
        for kind in kinds or self.instance.get_required_daemon_types():
            self.instance.add_daemon_heartbeat(DaemonHeartbeat(self.now, kind, "daemon", []))

    def after(self, seconds: float) -> list[str]:
        self.now += seconds
        self.watch.look()
        return self.receiver.got


@pytest.fixture(scope="module")
def instance() -> Iterator[DagsterInstance]:
    with instance_for_test() as made:
        yield made


@pytest.fixture
def watched(instance: DagsterInstance) -> Watched:
    instance.wipe_daemon_heartbeats()
    return Watched(instance)


def test_a_daemon_that_dies_is_told_once_and_its_return_too(watched: Watched) -> None:
    watched.beat()
    assert watched.after(SILENT_SECONDS) == []
    (text,) = watched.after(1)
    assert text.startswith("The daemon is dead: no schedules, sensors or queued runs start\nsilent: ")
    assert "SENSOR" in text
    assert "last heard of: 1970-01-12 13:46:40 UTC" in text
    assert len(watched.after(3600)) == 1
    watched.beat()
    assert watched.after(1)[1:] == ["The daemon is back\nhttps://dagster.example"]
    assert len(watched.after(1)) == 2


def test_one_that_never_came_is_dead(watched: Watched) -> None:
    assert watched.after(SILENT_SECONDS) == []
    assert "last heard of: never" in watched.after(1)[0]


def test_heartbeats_of_before_the_webservers_start_get_their_time(watched: Watched) -> None:
    watched.beat()
    watched.now += 24 * 3600
    again = Watched(watched.instance)
    again.now = watched.now
    again.watch._since = watched.now
    assert again.after(SILENT_SECONDS) == []
    assert len(again.after(1)) == 1


def test_a_thread_that_hangs_among_living_ones_is_named_after_long(watched: Watched) -> None:
    watched.beat()
    living = [kind for kind in watched.instance.get_required_daemon_types() if kind != "SENSOR"]
    watched.now += THREAD_SILENT_SECONDS
    watched.beat(*living)
    assert watched.after(0) == []
    (text,) = watched.after(1)
    assert text.startswith("A part of the daemon hangs\nsilent: SENSOR\n")
    assert len(watched.after(1)) == 1


def test_a_receiver_that_is_away_gets_it_later(watched: Watched) -> None:
    watched.receiver.away = True
    assert watched.after(SILENT_SECONDS + 1) == []
    watched.receiver.away = False
    assert len(watched.after(60)) == 1


def test_each_look_writes_that_the_webserver_lives(watched: Watched) -> None:
    watched.after(5)
    assert watched.instance.run_storage.get_cursor_values({WEBSERVER}) == {WEBSERVER: "1000005.0"}


def test_the_thread_survives_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch, watched: Watched) -> None:
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 2:
            watched.watch.stop()
        raise OSError("no connection")

    monkeypatch.setattr(daemon_watch, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(watched.watch, "look", look)
    watched.watch.run()
    assert len(looks) == 2


def test_wrong_settings_do_not_keep_the_webserver_from_serving(
    monkeypatch: pytest.MonkeyPatch, watched: Watched, caplog: Any
) -> None:
    assert "ALERT_WEBHOOK_URL" not in os.environ
    monkeypatch.setenv("ALERT_WEBHOOK_URL", "ftp://somewhere")
    daemon_watch.start(watched.instance).stop()
    assert "no alerts are sent: ALERT_WEBHOOK_URL" in caplog.text
