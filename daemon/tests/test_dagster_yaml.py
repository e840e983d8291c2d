"""dagster.yaml, loaded for real; its database is not asked for anything."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.storage.tags import CODE_LOCATION_TAG

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "dagster.yaml").read_text()
PASSWORD = "only-in-the-environment"


@pytest.fixture
def instance(monkeypatch):
    values = {"USER": "dagster", "PASSWORD": PASSWORD, "HOST": "nowhere.invalid", "PORT": "5432"}
    for name, value in values.items():
        monkeypatch.setenv(f"POSTGRES_{name}", value)
    with DagsterInstance.from_config(str(ROOT)) as instance:
        yield instance


def test_the_deployments_own_classes_are_used(instance):
    parts = (instance, instance.run_launcher, instance.run_coordinator, instance.compute_log_manager)
    assert [type(part).__name__ for part in parts] == [
        "DeploymentInstance",
        "BrokeredRunLauncher",
        "AttributingRunCoordinator",
        "LocationsComputeLogManager",
    ]


def test_no_password_is_in_what_crosses_to_a_location(instance):
    assert PASSWORD in instance.run_storage.postgres_url
    assert PASSWORD not in str(instance.get_ref())


def test_one_location_cannot_take_all_slots(instance):
    queue = instance.get_concurrency_config().run_queue_config
    (limit,) = queue.tag_concurrency_limits
    assert limit["key"] == CODE_LOCATION_TAG
    assert limit["value"] == {"applyLimitPerUniqueValue": True}
    assert limit["limit"] < queue.max_concurrent_runs


def test_a_broker_that_is_away_for_minutes_delays_runs_instead_of_failing_them(instance):
    queue = instance.get_concurrency_config().run_queue_config
    assert queue.max_user_code_failure_retries * queue.user_code_failure_retry_delay >= 600


def test_only_crashes_are_retried(instance):
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 2
    assert instance.run_retries_retry_on_asset_or_op_failure is False


def test_every_run_is_watched_and_ends_some_day(instance):
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds > 0
    assert instance.run_monitoring_max_resume_run_attempts == 0


def test_a_canceled_run_has_the_containers_whole_grace_to_end(instance):
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    grace = compose["x-code-location"]["stop_grace_period"]
    assert instance.run_monitoring_cancel_timeout_seconds > int(grace.removesuffix("s"))


def test_tables_are_the_migrations_to_make(instance):
    assert instance.run_storage.should_autocreate_tables is False


def test_nothing_is_sent_to_anybody(instance):
    assert instance.telemetry_enabled is False


def test_every_section_has_its_reason_above_it():
    lines = TEXT.splitlines()
    # Sections of one kind (schedules, sensors) share the reason above the first, without a blank line between.
    without = [line for before, line in pairwise(lines) if re.match(r"[a-z_]+:", line) and not before.strip()]
    assert without == []
