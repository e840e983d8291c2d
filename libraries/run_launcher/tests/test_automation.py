"""In a branch nothing starts by itself, whatever the code under review says; people's work goes on."""

from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._daemon.controller import create_daemons_from_instance, get_daemon_statuses

from run_launcher import automation

SETTINGS = ("instance_class", "run_coordinator", "run_monitoring", "run_retries")
LAUNCHING = {"SCHEDULER", "SENSOR", "ASSET"}
WORKING = {"BACKFILL", "MONITORING", "QUEUED_RUN_COORDINATOR", "EVENT_LOG_CONSUMER"}


@pytest.fixture
def instance(tmp_path):
    """The deployment's instance as dagster.yaml has it, on a storage of its own."""
    shipped = yaml.safe_load((Path(__file__).parents[3] / "dagster.yaml").read_text())
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({name: shipped[name] for name in SETTINGS}))
    with DagsterInstance.from_ref(InstanceRef.from_dir(str(tmp_path))) as made:
        yield made


def test_in_production_every_daemon_is_required(instance, monkeypatch):
    monkeypatch.setenv("DEPLOYMENT", "prod")
    assert set(instance.get_required_daemon_types()) >= LAUNCHING | WORKING


def test_in_a_branch_the_daemons_that_launch_are_neither_required_nor_made(instance, monkeypatch):
    monkeypatch.setenv("DEPLOYMENT", "branch-1523")
    required = instance.get_required_daemon_types()
    assert not LAUNCHING & set(required)
    assert set(required) >= WORKING
    made = {daemon.daemon_type() for daemon in create_daemons_from_instance(instance)}
    assert made == set(required)


def test_nobody_complains_of_a_daemon_that_is_off(instance, monkeypatch):
    monkeypatch.setenv("DEPLOYMENT", "branch-1523")
    for name, status in get_daemon_statuses(instance, LAUNCHING, ignore_errors=True).items():
        assert (name, status.required, status.healthy) == (name, False, None)


@pytest.mark.parametrize(
    ("deployment", "off"),
    [("branch-7", True), ("prod", False), ("", False), ("staging", False), ("my-branch-7", False)],
)
def test_only_a_branch_is_switched_off(deployment, off):
    assert automation.is_off(deployment) is off


def test_a_daemon_that_dagster_adds_is_looked_at_first():
    """The names are Dagster's: one that it renames would run unseen in every branch."""
    from dagster._daemon.asset_daemon import AssetDaemon
    from dagster._daemon.daemon import SchedulerDaemon, SensorDaemon

    assert {daemon.daemon_type() for daemon in (SchedulerDaemon, SensorDaemon, AssetDaemon)} == automation.LAUNCHING
