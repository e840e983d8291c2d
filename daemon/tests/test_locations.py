"""What the daemon says of the code locations it has loaded, and of the images that runs need."""

import json
import subprocess
import sys
import time
import uuid

import pytest
from dagster import DagsterInstance
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.dagster_run import DagsterRun, DagsterRunStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from daemon import locations, settings
from daemon.__main__ import main
from daemon.background import Background
from daemon.images import of_unfinished_runs
from daemon.launches import Launches
from daemon.locations import LocationsFile


@pytest.fixture
def instance():
    launcher = {"run_launcher": {"module": "run_launcher.launcher", "class": "BrokeredRunLauncher"}}
    with DagsterInstance.local_temp(overrides=launcher) as made:
        yield made


def until(file, condition):
    deadline = time.monotonic() + 120
    while True:
        told = json.loads(locations.read(file)).get("sales", {})
        if told and condition(told):
            return told
        assert time.monotonic() < deadline, told
        time.sleep(0.1)


@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore:Error loading repository location")
def test_a_code_server_that_is_replaced_is_told_with_its_image_and_an_error_with_its_reason(
    instance, server, workspace, tmp_path
):
    file = tmp_path / "locations.json"
    server.serve("prod/sales:1")
    with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as context:
        background = Background(instance, Launches(), tmp_path / "health.json", 300)
        background.tell(LocationsFile(file, context.get_current_workspace))
        # Its watch on the server begins in an error while the server still starts, and recovers by itself.
        first = until(file, lambda told: told["image"] == "prod/sales:1" and not told["error"])
        server.serve("prod/sales:2")
        second = until(file, lambda told: told["image"] == "prod/sales:2")
        assert second["server"] != first["server"]
        assert second["at"] > first["at"]
        server.serve("prod/sales:3", "raise RuntimeError('on purpose')")
        broken = until(file, lambda told: "on purpose" in told["error"])
        assert "Unreachable" not in broken["kind"]
        background.__exit__()


def test_the_word_of_the_daemon_is_read_without_dagster(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(settings, "LOCATIONS_FILE", tmp_path / "locations.json")
    assert main(["locations"]) == 0
    (tmp_path / "locations.json").write_text('{"sales": {}}')
    assert main(["locations"]) == 0
    assert capsys.readouterr().out.splitlines() == ["{}", '{"sales": {}}']
    code = "import sys; sys.modules['dagster'] = None; from daemon.__main__ import main; main(['locations'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr == ""


def run(status, image):
    repository = RepositoryPythonOrigin(sys.executable, ModuleCodePointer("x", "y"), container_image=image)
    origin = JobPythonOrigin("job", repository) if image else None
    remote = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("sales"), "__repository__"), "job")
    return DagsterRun("job", run_id=str(uuid.uuid4()), status=status, job_code_origin=origin, remote_job_origin=remote)


def test_images_of_queued_and_running_runs_are_told_and_of_finished_ones_not(instance):
    for status, image in (
        (DagsterRunStatus.QUEUED, "prod/sales:1"),
        (DagsterRunStatus.QUEUED, "prod/sales:1"),
        (DagsterRunStatus.STARTED, "prod/sales:2"),
        (DagsterRunStatus.CANCELING, "prod/sales:3"),
        (DagsterRunStatus.SUCCESS, "prod/sales:4"),
        (DagsterRunStatus.QUEUED, None),
    ):
        instance.add_run(run(status, image))
    assert of_unfinished_runs(instance) == ["prod/sales:1", "prod/sales:2", "prod/sales:3"]


def test_more_runs_than_one_page_are_all_looked_at(instance, monkeypatch):
    monkeypatch.setattr("daemon.images.PAGE", 2)
    for number in range(5):
        instance.add_run(run(DagsterRunStatus.QUEUED, f"prod/sales:{number}"))
    assert len(of_unfinished_runs(instance)) == 5
