"""What the workflows may do and what they ask for. zizmor, a linter of ./stack test, knows the traps of forges."""

import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
import yaml

from operations.cli import app

ROOT = Path(__file__).resolve().parents[3]
OWN = sorted((ROOT / ".github/workflows").glob("*.yml"))
LOCATION = ROOT / "deploy/forge/location-repository/.github/workflows/location.yml"
WORKFLOWS = [*OWN, LOCATION]
GITLAB = ROOT / "deploy/forge/gitlab-ci.yml"
SHA = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
ASKED = re.compile(r"^deploy/forge/ask (.+)$", re.MULTILINE)
STACK = re.compile(r"(?:^|[\s;&|])\./stack ((?:[a-z]+ ?)+)", re.MULTILINE)
FORK = "github.event.pull_request.head.repo.full_name == github.repository"


def read(path: Path) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load(path.read_text())
    return content


def triggers(path: Path) -> dict[str, Any]:
    # In YAML 1.1, which PyYAML reads, `on` is true.
    found: dict[str, Any] = read(path)[True]
    return found


JOBS = [(path, name) for path in WORKFLOWS for name in read(path)["jobs"]]
STEPS = [(path, job, step) for path, job in JOBS for step in read(path)["jobs"][job]["steps"]]
SCRIPTS = [(path.stem, step["run"]) for path, _, step in STEPS if "run" in step]
GITLAB_SCRIPTS = [
    (name, "\n".join([*job.get("before_script", []), *job.get("script", [])]))
    for name, job in read(GITLAB).items()
    if isinstance(job, dict) and ("script" in job or "before_script" in job)
]


def named(value: object) -> str:
    return value.stem if isinstance(value, Path) else str(value)[:40]


@pytest.fixture(scope="module")
def gatekeeper() -> ModuleType:
    loader = SourceFileLoader("gatekeeper", str(ROOT / "deploy/forge/gatekeeper"))
    spec = spec_from_loader("gatekeeper", loader)
    assert spec
    module = module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_nothing_is_allowed_that_a_job_does_not_name(path: Path) -> None:
    assert read(path)["permissions"] == {}
    # It would run with secrets for whoever opens a pull request.
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & set(triggers(path))


@pytest.mark.parametrize(("path", "job"), JOBS, ids=named)
def test_every_job_ends_and_none_runs_twice_at_once(path: Path, job: str) -> None:
    spec = read(path)["jobs"][job]
    # At night, when nobody waits for it, every test runs.
    assert spec["timeout-minutes"] <= (240 if "schedule" in triggers(path) else 120)
    assert "concurrency" in spec or "concurrency" in read(path)
    # A runner on our machine would run pull requests there, outside every sandbox.
    assert spec["runs-on"] == "ubuntu-24.04"
    assert set(spec["permissions"]) <= {"contents", "id-token", "packages"}
    assert spec["permissions"]["contents"] == "read"


@pytest.mark.parametrize(("path", "job", "step"), STEPS, ids=named)
def test_a_step_is_pinned_and_leaves_no_credentials(path: Path, job: str, step: dict[str, Any]) -> None:
    if "uses" in step:
        assert re.fullmatch(r"actions/checkout@[0-9a-f]{40}", step["uses"])
        assert step["with"]["persist-credentials"] is False
    else:
        # An expression would be put into the script as text, whatever it says.
        assert "${{" not in step["run"]


@pytest.mark.parametrize(("path", "job"), [(p, j) for p, j in JOBS if p in OWN], ids=named)
def test_no_code_under_review_runs_beside_a_key(path: Path, job: str) -> None:
    spec = read(path)["jobs"][job]
    keeps = "secrets." in yaml.safe_dump(spec)
    assert keeps is ("environment" in spec)
    if not keeps:
        return
    (checkout,) = [step for step in spec["steps"] if "uses" in step]
    assert checkout["with"]["sparse-checkout"] == "deploy/forge"
    if spec["environment"] == "production":
        assert spec["if"].startswith("github.event_name == 'push' && ")
        assert triggers(path)["push"] == {"branches": ["main"]}
    else:
        assert spec["environment"] == "branch"
        assert FORK in spec["if"]
        assert "||" not in spec["if"]
        assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    # One that is interrupted leaves work to the next one.
    assert spec["concurrency"]["cancel-in-progress"] is False


def test_what_is_asked_of_the_machine_is_what_its_gatekeeper_allows(gatekeeper: ModuleType) -> None:
    values = {
        **{'"$NUMBER"': "1523", '"$COMMIT"': SHA},
        **{'"$CI_MERGE_REQUEST_IID"': "1523", '"$CI_COMMIT_SHA"': SHA},
    }
    scripts = [script for path, script in SCRIPTS if path != LOCATION.stem] + [script for _, script in GITLAB_SCRIPTS]
    asked = set()
    for request in (match[1] for script in scripts for match in ASKED.finditer(script)):
        for name, value in values.items():
            request = request.replace(name, value)
        assert gatekeeper.allowed(request, ["branch", "reconcile"]), request
        asked.add(request)
    assert asked == {f"branch create 1523 --from {SHA}", "branch delete 1523", "reconcile"}


def test_production_is_asked_for_by_main_alone(gatekeeper: ModuleType) -> None:
    for path in OWN:
        for job in read(path)["jobs"].values():
            for step in job["steps"]:
                if "ask reconcile" in step.get("run", ""):
                    assert job["environment"] == "production"
    assert not gatekeeper.allowed("reconcile", ["branch"])


def verbs() -> set[str]:
    found = set()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found |= {f"{name} {each}" for each in below} if below else {name}
    return found


def test_they_call_verbs_that_exist(gatekeeper: ModuleType) -> None:
    scripts = [script for _, script in [*SCRIPTS, *GITLAB_SCRIPTS]]
    scripts.append((ROOT / "deploy/forge/publish").read_text().replace('"$root/stack"', "./stack"))
    called = {match[1].strip() for script in scripts for match in STACK.finditer(script)}
    forms = [form for right in gatekeeper.REQUESTS.values() for form in right]
    called |= {" ".join(word for word in form[:2] if isinstance(word, str)) for form in forms}
    assert {"test", "check", "location image", "reconcile", "branch create", "branch delete"} <= called
    assert called - verbs() == set()


@pytest.mark.parametrize(("name", "script"), [*SCRIPTS, *GITLAB_SCRIPTS], ids=named)
def test_the_scripts_in_them_are_sound(name: str, script: str) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        # SC2016: expressions in '' are meant so.
        [shellcheck, "--shell=bash", "--exclude=SC2016", "-"],
        input=script + "\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
