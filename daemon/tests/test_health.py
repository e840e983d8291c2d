"""Whether the daemon is well, asked cheaply."""

import subprocess
import sys
import time

import pytest
from dagster import DagsterInstance
from dagster._daemon.types import DaemonHeartbeat

from daemon import health
from daemon.__main__ import main
from daemon.background import Background
from daemon.launches import Launches


@pytest.fixture
def file(tmp_path):
    return tmp_path / "health.json"


def test_a_fresh_report_without_complaints_is_healthy(file):
    health.write(file, [], now=100)
    assert health.read(file, now=110) == []


def test_what_is_wrong_is_told(file):
    health.write(file, ["no heartbeat of SENSOR"], now=100)
    assert health.read(file, now=110) == ["no heartbeat of SENSOR"]


def test_a_daemon_that_hangs_stops_reporting_and_is_unhealthy(file):
    health.write(file, [], now=100)
    assert "has not reported for 100 s" in health.read(file, now=200)[0]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"at": "x", "failing": []}', '{"at": 1}'])
def test_a_broken_report_is_unhealthy_not_a_traceback(file, content):
    file.write_text(content)
    assert "cannot be read" in health.read(file)[0]


def test_a_daemon_that_has_not_begun_is_unhealthy(file):
    assert health.read(file) == ["the daemon has not reported yet"]


def test_the_check_needs_neither_dagster_nor_a_database():
    # It runs every few seconds; with Dagster's imports it would take a tenth of a processor for ever.
    code = "import sys; sys.modules['dagster'] = None; from daemon.__main__ import main; main(['health'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_wrong_call_says_how(capsys):
    assert main(["halth"]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.fixture
def background(file):
    launcher = {"run_launcher": {"module": "run_launcher.launcher", "class": "BrokeredRunLauncher"}}
    with DagsterInstance.local_temp(overrides=launcher) as instance:
        yield Background(instance, Launches(), file, tolerance_seconds=300)


def test_each_daemon_without_a_heartbeat_is_named(background, file):
    background.report()
    failing = health.read(file)
    assert "no heartbeat of SENSOR" in failing
    assert "no heartbeat of MONITORING" not in failing  # off unless dagster.yaml turns it on


def test_daemons_that_beat_are_healthy(background, file):
    instance = background._instance
    for kind in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), kind, "one", []))
    background.report()
    assert health.read(file) == []


def test_a_sweep_that_hangs_is_unhealthy(background, file):
    background._swept_at -= 10_000
    background.report()
    assert "the sweep of run containers hangs" in health.read(file)
