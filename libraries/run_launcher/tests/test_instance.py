"""The deployment's instance: what run monitoring says of a run that took too long to start."""

import pytest
import yaml
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.test_utils import create_run_for_test

from run_launcher.launcher import BrokeredRunLauncher

CONFIGURATION = {
    "instance_class": {"module": "run_launcher.instance", "class": "DeploymentInstance"},
    "run_launcher": {"module": "run_launcher.launcher", "class": "BrokeredRunLauncher"},
}
LATE = JobFailureData(error=None, failure_reason=RunFailureReason.START_TIMEOUT)


@pytest.fixture
def deployed(tmp_path):
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(CONFIGURATION))
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def statuses(instance, run):
    kinds = [event.dagster_event_type.value for event in instance.all_logs(run.run_id)]
    return instance.get_run_by_id(run.run_id).status, kinds


def test_a_run_that_did_not_begin_is_failed_when_its_container_has_ended(deployed, monkeypatch):
    run = create_run_for_test(deployed, status=DagsterRunStatus.STARTING)
    asked = []
    monkeypatch.setattr(BrokeredRunLauncher, "end_before_start", lambda _, run_id: asked.append(run_id) or True)
    deployed.report_run_failed(run, "Run timed out", LATE)
    assert asked == [run.run_id]
    assert statuses(deployed, run) == (DagsterRunStatus.FAILURE, ["PIPELINE_FAILURE"])


def test_a_run_that_has_begun_after_all_is_not_failed(deployed, monkeypatch):
    run = create_run_for_test(deployed, status=DagsterRunStatus.STARTED)
    monkeypatch.setattr(BrokeredRunLauncher, "end_before_start", lambda *_: False)
    deployed.report_run_failed(run, "Run timed out", LATE)
    assert statuses(deployed, run) == (DagsterRunStatus.STARTED, ["ENGINE_EVENT"])


def test_any_other_failure_is_told_at_once(deployed, monkeypatch):
    run = create_run_for_test(deployed, status=DagsterRunStatus.STARTED)
    monkeypatch.setattr(BrokeredRunLauncher, "end_before_start", lambda *_: pytest.fail("was asked"))
    deployed.report_run_failed(run, "Its container is gone")
    assert statuses(deployed, run) == (DagsterRunStatus.FAILURE, ["PIPELINE_FAILURE"])
