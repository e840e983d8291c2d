"""Dagster's own runs with the classes that a location's run is given."""

import logging
import sys
from pathlib import Path

import pytest
from dagster import DagsterInstance
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.events.log import EventLogEntry

from redaction import client
from redaction.compute_logs import RedactedComputeLogManager
from redaction.instance import redacted

RUN = """
import logging, os, subprocess, sys
import dagster as dg
from dagster._core.storage.compute_log_manager import ComputeIOType
from redaction import client

@dg.op
def leak(context):
    print("print anna@example.com Anna Smith")
    os.write(2, b"error anna@example.com\\n")
    subprocess.run("echo child anna@example.com", shell=True)
    client.hide(["Anna Smith"])
    context.log.info("context anna@example.com Anna Smith")
    logging.getLogger("other").warning("logging anna@example.com")
    manager, key = context.instance.compute_log_manager, [context.run_id, "compute_logs"]
    name = os.listdir(os.path.join(sys.argv[1], "logs", *key))[0].partition(".")[0]
    print("seen while it runs:", manager.get_log_data([*key, name]).stdout.decode().count("[email]") > 0)
    try:
        raise KeyError("cause anna@example.com")
    except KeyError as error:
        raise dg.Failure("failed for Anna Smith anna@example.com") from error

@dg.job(executor_def=dg.in_process_executor)
def leaks():
    leak()

settings = {
    "instance_class": {"module": "redaction.instance", "class": "RedactingInstance"},
    "compute_logs": {"module": "redaction.compute_logs", "class": "RedactedComputeLogManager",
                     "config": {"base_dir": sys.argv[1] + "/logs"}},
    "storage": {"sqlite": {"base_dir": sys.argv[1]}},
    "telemetry": {"enabled": False},
}
with dg.DagsterInstance.from_config(sys.argv[2]) as instance:
    result = leaks.execute_in_process(instance=instance, raise_on_error=False)
    print(result.run_id)
"""
YAML = """
instance_class: {{module: redaction.instance, class: RedactingInstance}}
compute_logs: {{module: redaction.compute_logs, class: RedactedComputeLogManager, config: {{base_dir: {base}/logs}}}}
storage: {{sqlite: {{base_dir: {base}}}}}
telemetry: {{enabled: false}}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "dagster.yaml").write_text(YAML.format(base=tmp_path))
    return tmp_path


def test_nothing_of_a_run_is_stored_that_must_not_be_seen(run, home: Path) -> None:
    done = run(sys.executable, "-c", RUN, str(home), str(home), DAGSTER_HOME=str(home))
    assert done.returncode == 0, done.stderr.decode()
    stored = {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    for name, content in stored.items():
        assert b"anna@example.com" not in content, (
            name,
            content[max(0, content.find(b"anna@example.com") - 300) :][:400],
        )
        assert b"Anna Smith" not in content or name.endswith(".out"), name
    assert b"anna" not in done.stdout + done.stderr
    (out,) = [content for name, content in stored.items() if name.endswith(".out")]
    # The name is hidden from the moment it is named.
    assert out.splitlines()[:2] == [b"print [email] Anna Smith", b"child [email]"]
    assert b"seen while it runs: True" in out
    run_id = done.stdout.decode().split()[-1]
    with DagsterInstance.from_config(str(home)) as instance:
        messages = [entry.user_message for entry in instance.all_logs(run_id)]
        failure = next(
            e.dagster_event for e in instance.all_logs(run_id) if e.dagster_event and e.dagster_event.is_step_failure
        )
    assert "context [email] [personal]" in messages
    assert "KeyError: 'cause [email]'" in failure.step_failure_data.error.to_string()
    assert "def leak" not in failure.step_failure_data.error.message


def test_without_the_entry_point_a_run_has_no_log_rather_than_a_raw_one(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("REDACTION_SOCKET", raising=False)
    with DagsterInstance.from_config(str(home)) as instance:
        manager = instance.compute_log_manager
        assert isinstance(manager, RedactedComputeLogManager)
        with manager.capture_logs(["run", "compute_logs", "step"]):
            print("anna@example.com")
        data = manager.get_log_data(["run", "compute_logs", "step"])
        assert manager.is_capture_complete(["run", "compute_logs", "step"])
    assert data.stdout == b""
    assert data.stderr.startswith(b"Nothing was captured: REDACTION_SOCKET is not set")


def test_the_log_of_a_schedule_is_redacted(home: Path) -> None:
    from dagster._core.definitions.instigation_logger import InstigationLogger, get_instigation_log_records

    client.hide(["Zaphod Beeblebrox"])
    with DagsterInstance.from_config(str(home)) as instance:
        console = logging.getLogger("quiet")
        console.propagate = False
        with InstigationLogger(["repository", "schedule", "1"], instance, "r", "s", console_logger=console) as log:
            log.error("sends anna@example.com for %s", "Zaphod Beeblebrox")
        records = get_instigation_log_records(instance, ["repository", "schedule", "1"])
    assert [record["msg"] for record in records] == ["r - s - sends [email] for [personal]"]


def test_a_secret_of_the_container_is_in_no_event(tmp_path: Path, run) -> None:
    (tmp_path / "database_password").write_text("correct-horse")
    source = (
        "import sys; from redaction import supervisor; supervisor.SECRETS = sys.argv[1]\n"
        "from redaction.instance import _text; sys.exit(_text('it is correct-horse') != 'it is [secret]')"
    )
    done = run(sys.executable, "-c", source, f"{tmp_path}/")
    assert done.returncode == 0, done.stderr


def test_what_identifies_an_event_stays() -> None:
    event = EventLogEntry(
        error_info=None,
        level=20,
        user_message="anna@example.com",
        run_id="0b4f1c2e-1a2b-4c3d-9e8f-001122334455",
        timestamp=1.0,
        step_key="step@1.a.b",
        job_name="job",
        dagster_event=DagsterEvent(
            "ENGINE_EVENT",
            "job",
            event_specific_data=EngineEventData(),
            message="to anna@example.com",
            step_key="step@1.a.b",
        ),
    )
    stored = redacted(event)
    assert stored.user_message == "[email]"
    assert stored.dagster_event.message == "to [email]"
    assert (stored.run_id, stored.step_key, stored.dagster_event.step_key) == (event.run_id, "step@1.a.b", "step@1.a.b")
