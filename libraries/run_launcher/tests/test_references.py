"""What crosses to a run or a code server: nothing that only the deployment has."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import deserialize_value, serialize_value

from run_launcher.references import location_reference

STORAGE = yaml.safe_load((Path(__file__).parents[3] / "dagster.yaml").read_text())["storage"]
CONFIGURATION = {
    "instance_class": {"module": "run_launcher.instance", "class": "DeploymentInstance"},
    "run_launcher": {"module": "run_launcher.launcher", "class": "BrokeredRunLauncher"},
    "run_coordinator": {"module": "run_launcher.coordinator", "class": "AttributingRunCoordinator"},
    "compute_logs": {"module": "run_launcher.compute_logs", "class": "LocationsComputeLogManager"},
    "run_retries": {"enabled": True, "max_retries": 2},
    "schedules": {"use_threads": True},
}


@pytest.fixture
def reference(tmp_path, monkeypatch):
    for name, value in {"USER": "dagster", "PASSWORD": "hush-hush", "HOST": "postgres", "PORT": "5432"}.items():
        monkeypatch.setenv(f"POSTGRES_{name}", value)
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({**CONFIGURATION, "storage": STORAGE}))
    return InstanceRef.from_dir(str(tmp_path))


def test_no_secret_and_no_class_of_the_deployment_crosses(reference):
    text = serialize_value(location_reference(reference))
    assert "hush-hush" not in text
    assert "run_launcher." not in text
    assert "POSTGRES_PASSWORD" in text


def test_a_location_writes_its_logs_where_its_own_volume_is_mounted(reference):
    logs = location_reference(reference).compute_logs_data
    assert (logs.module_name, logs.class_name) == ("redaction.compute_logs", "RedactedComputeLogManager")
    assert logs.config_dict == {"base_dir": "/var/lib/dagster/logs"}


def test_a_run_keeps_the_settings_it_obeys_and_no_others(reference):
    assert location_reference(reference).settings == {"run_retries": CONFIGURATION["run_retries"]}


def test_a_run_opens_its_instance_without_this_package(reference):
    # A location's image holds Dagster alone: the proof is a process that cannot import run_launcher.
    text = serialize_value(location_reference(reference))
    code = (
        "import sys; sys.modules['run_launcher'] = None\n"
        "from dagster import DagsterInstance\n"
        "from dagster._serdes import deserialize_value\n"
        "instance = DagsterInstance.from_ref(deserialize_value(sys.argv[1]))\n"
        "parts = (instance, instance.run_coordinator, instance.compute_log_manager)\n"
        "print(*(type(part).__name__ for part in parts))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        "RedactingInstance", "QueuedRunCoordinator", "RedactedComputeLogManager"
    ]  # fmt: skip


def test_the_instance_of_webserver_and_daemon_tells_others_the_trimmed_reference(tmp_path):
    configuration = {**CONFIGURATION, "storage": {"sqlite": {"base_dir": str(tmp_path)}}}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(configuration))
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        assert type(instance).__name__ == "DeploymentInstance"
        assert type(instance.run_launcher).__name__ == "BrokeredRunLauncher"
        assert "run_launcher." not in serialize_value(instance.get_ref())
        assert deserialize_value(serialize_value(instance.get_ref()), InstanceRef) == instance.get_ref()
