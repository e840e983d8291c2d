import sys
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from operations.errors import StackError
from operations.execute import Shell
from operations.testing import environments, runner, suites
from operations.testing.runner import Outcome
from operations.testing.suites import Suite
from operations.tests.fakes import Machine
from operations.verbs import test as verb


def touch(root: Path, *names: str, text: str = "") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def checkout(machine: Machine) -> Machine:
    touch(
        machine.root,
        "operations/tests/test_a.py",
        "libraries/access/src/access/__init__.py",
        "libraries/access/tests/test_a.py",
        "libraries/silent/src/silent/__init__.py",
        "webserver/src/webserver/__init__.py",
        "webserver/tests/test_a.py",
        "code_locations/ingestion/tests/test_a.py",
        "code_locations/ingestion/src/ingestion/__init__.py",
        "code_locations/ingestion/requirements.lock",
        "code_locations/ingestion/.venv/lib/x/tests/test_theirs.py",
        "deploy/sample_source/tests/unit/test_a.py",
        "deploy/sample_source/requirements.lock",
        "tests/test_promise.py",
        "tests/performance/test_speed.py",
        "tests/requirements.lock",
        "webserver/Dockerfile",
    )
    touch(machine.root, "tests/tools.lock", text="pytest==9.2.0 \\\n    --hash=sha256:0\n")
    touch(machine.root, "stack", ".ci/run", text="#!/bin/sh\n")
    touch(machine.root, "gateway/bin/health", text="#!/usr/bin/env bash\n")
    touch(machine.root, "deploy/program", text="#!/usr/bin/env python3\n")
    touch(machine.root, ".github/workflows/pull-request.yml", "deploy/forge/example/.github/workflows/location.yml")
    touch(machine.root, ".venv/bin/activate", text="#!/bin/sh\n")
    return machine


ASKED: dict[str, Any] = {"fast": False, "every": False, "only": [], "extra": []}


def named(checkout: Machine, **options: object) -> list[str]:
    asked = {"fast": False, "every": False, "only": [], "extra": [], **options}
    return [suite.name for suite in suites.discover(checkout.root, **asked)]  # type: ignore[arg-type]


def test_suites_are_found_by_folder_so_that_none_is_forgotten(checkout: Machine) -> None:
    assert named(checkout) == [
        *("ruff check", "ruff format", "mypy", "shellcheck", "hadolint", "zizmor"),
        *("code_locations/ingestion", "deploy/sample_source", "libraries/access", "operations", "webserver"),
        *("end-to-end", "end-to-end apart"),
    ]


def test_fast_leaves_out_what_starts_containers_and_all_adds_performance(checkout: Machine) -> None:
    assert not [name for name in named(checkout, fast=True) if "end-to-end" in name]
    assert named(checkout, every=True)[-3:] == ["end-to-end", "end-to-end apart", "performance"]
    for every in (False, True):
        found = suites.discover(checkout.root, **{**ASKED, "every": every})
        lanes = [suite for suite in found if suite.kind == "end-to-end"]
        assert [suite.args[-1] for suite in lanes] == ["--lane=deployment", "--lane=apart"]
        assert ["not long" in suite.args for suite in lanes] == [not every] * 2


def test_somebodys_own_arguments_go_to_all_end_to_end_tests_at_once(checkout: Machine) -> None:
    found = suites.discover(checkout.root, **{**ASKED, "extra": ["-k", "lineage"]})
    (suite,) = (suite for suite in found if suite.kind == "end-to-end")
    assert suite.args[-2:] == ("-k", "lineage")
    assert not [part for part in suite.args if part.startswith("--lane")]


def test_what_starts_containers_comes_after_all_else_and_two_at_once(
    checkout: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [
        Suite(name, kind, ("pytest", name), suites.SHARED)
        for name, kind in (
            ("a", "unit"),
            ("b", "unit"),
            ("shared", "end-to-end"),
            ("apart", "end-to-end"),
            ("p", "performance"),
        )
    ]
    # Neither of two ends before both have begun; the last one has the machine for itself.
    together, begun = Barrier(2, timeout=30), []

    def run(_context: object, suite: Suite, *_: object) -> Outcome:
        begun.append(suite.name)
        if suite.name != "p":
            together.wait()
        return Outcome(suite, 1, 0, 0, 1.0, "")

    monkeypatch.setattr(runner, "run", run)
    places = {suites.SHARED: checkout.root}
    outcomes = runner.run_all(checkout.context(), chosen, places, lambda _: None)
    assert [outcome.suite.name for outcome in outcomes] == ["a", "b", "shared", "apart", "p"]
    assert (sorted(begun[:2]), sorted(begun[2:4]), begun[4:]) == (["a", "b"], ["apart", "shared"], ["p"])


def test_only_picks_by_a_part_of_the_name(checkout: Machine) -> None:
    assert named(checkout, only=["ingest", "shell"]) == ["shellcheck", "code_locations/ingestion"]


def test_an_only_that_matches_nothing_names_the_suites(checkout: Machine) -> None:
    with pytest.raises(StackError, match="no suite matches nothing") as error:
        verb.test(checkout.context(), fast=False, only=["nothing"], every=False, extra=[])
    assert "libraries/access" in error.value.expected


def test_a_location_runs_in_its_own_lock_with_its_own_source_alone(checkout: Machine) -> None:
    found = {suite.name: suite for suite in suites.unit_suites(checkout.root, ["-k", "x"])}
    assert found["code_locations/ingestion"].environment == "code_locations/ingestion/requirements.lock"
    assert found["code_locations/ingestion"].paths == ("code_locations/ingestion/src",)
    assert found["code_locations/ingestion"].args == ("pytest", "code_locations/ingestion/tests", "-k", "x")
    assert found["webserver"].environment == suites.SHARED
    assert found["webserver"].paths == ("webserver/src", ".", "libraries/access/src", "libraries/silent/src")


def test_shell_scripts_are_known_by_their_first_line(checkout: Machine) -> None:
    found = [str(path.relative_to(checkout.root)) for path in suites.shell_scripts(checkout.root)]
    assert sorted(found) == [".ci/run", "gateway/bin/health", "stack"]


def test_workflows_are_linted_wherever_they_are(checkout: Machine) -> None:
    (found,) = [suite for suite in suites.linters(checkout.root) if suite.name == "zizmor"]
    assert "--offline" in found.args
    assert found.args[-2:] == (
        ".github/workflows/pull-request.yml",
        "deploy/forge/example/.github/workflows/location.yml",
    )


def test_an_environment_is_made_once_and_again_when_its_lock_changes(checkout: Machine) -> None:
    def commands() -> list[str]:
        checkout.executor.calls.clear()
        environments.provide(checkout.context(), suites.SHARED)
        return [call[1] for call in checkout.executor.calls]

    assert commands() == ["venv", "pip"]
    assert commands() == []
    (checkout.root / "tests/requirements.lock").write_text("a==1\n")
    assert commands() == ["venv", "pip"]
    assert "--require-hashes" in checkout.executor.calls[-1]


def test_an_interrupted_environment_is_made_again(checkout: Machine) -> None:
    checkout.executor.answer("pip", "install", code=1, stderr="interrupted")
    with pytest.raises(StackError, match="interrupted"):
        environments.provide(checkout.context(), suites.SHARED)
    assert not (environments.directory(checkout.root, suites.SHARED) / "lock.sha256").exists()


def test_tools_never_replace_what_a_locations_lock_pins() -> None:
    tools = "packaging==26 \\\n    --hash=sha256:0\n    # via pytest\npytest==9.2.0 \\\n    --hash=sha256:1\n"
    lock = "packaging==24.1 \\\n    --hash=sha256:2\n"
    assert environments.without(tools, environments.names(lock)) == "pytest==9.2.0 \\\n    --hash=sha256:1\n"


def outcome(checkout: Machine, suite: Suite) -> Outcome:
    environment = checkout.root / "environment"
    (environment / "bin").mkdir(parents=True, exist_ok=True)
    for name in ("python", "true", "false"):
        link = environment / "bin" / name
        if not link.exists():
            link.symlink_to(sys.executable if name == "python" else f"/bin/{name}")
    (checkout.root / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = ['--import-mode=importlib']\n")
    context = checkout.context()
    context.executor = Shell(checkout.root)
    return runner.run(context, suite, environment, checkout.root)


def test_tests_are_counted_one_by_one(checkout: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    text = (
        "import pytest\ndef test_a(): pass\ndef test_b(): pass\ndef test_c(): assert 0\n"
        "@pytest.mark.skip\ndef test_d(): pass\n@pytest.fixture\ndef bad(): assert 0\ndef test_e(bad): pass\n"
    )
    touch(checkout.root, "unit/tests/test_a.py", text=text)
    site = tuple(path for path in sys.path if path)
    found = outcome(checkout, Suite("unit", "unit", ("pytest", "unit/tests"), suites.SHARED, site))
    assert (found.passed, found.failed, found.skipped) == (2, 2, 1)
    assert not found.ok


@pytest.mark.parametrize("text", ["import no_such_module\n", "def broken(:\n", ""])
def test_a_suite_that_cannot_be_collected_or_is_empty_has_failed(checkout: Machine, text: str) -> None:
    touch(checkout.root, "unit/tests/test_a.py", text=text)
    site = tuple(path for path in sys.path if path)
    found = outcome(checkout, Suite("unit", "unit", ("pytest", "unit/tests"), suites.SHARED, site))
    assert (found.passed, found.failed) == (0, 1)


def test_a_unit_whose_folder_has_its_packages_name_imports_the_package(checkout: Machine) -> None:
    touch(checkout.root, "unit/src/unit/__init__.py", text="there = True\n")
    touch(checkout.root, "unit/tests/test_a.py", text="import unit\ndef test_it(): assert unit.there\n")
    site = ("unit/src", ".", *(path for path in sys.path if path))
    found = outcome(checkout, Suite("unit", "unit", ("pytest", "unit/tests"), suites.SHARED, site))
    assert (found.passed, found.failed) == (1, 0), found.output


def test_bytecode_is_kept_for_the_next_process_and_apart_from_the_sources(
    checkout: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(checkout.root / "kept"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    touch(checkout.root, "unit/src/unit/__init__.py", text="there = True\n")
    touch(checkout.root, "unit/tests/test_a.py", text="import unit\ndef test_it(): assert unit.there\n")
    site = ("unit/src", ".", *(path for path in sys.path if path))
    assert outcome(checkout, Suite("unit", "unit", ("pytest", "unit/tests"), suites.SHARED, site)).ok
    assert list((checkout.root / "kept").rglob("unit/src/unit/__init__*.pyc"))
    assert not list(checkout.root.rglob("__pycache__"))
    monkeypatch.delenv("PYTHONPYCACHEPREFIX")
    by_itself = runner.variables(Suite("unit", "unit", (), suites.SHARED), checkout.root, checkout.root)
    assert by_itself["PYTHONPYCACHEPREFIX"] == str(checkout.root / ".stack/test/bytecode")


def test_a_linter_counts_as_one(checkout: Machine) -> None:
    passed = outcome(checkout, Suite("ok", "lint", ("true",), suites.SHARED))
    failed = outcome(checkout, Suite("bad", "lint", ("false",), suites.SHARED))
    missing = outcome(checkout, Suite("gone", "lint", ("no-such-linter",), suites.SHARED))
    assert [(o.passed, o.failed) for o in (passed, failed, missing)] == [(1, 0), (0, 1), (0, 1)]


def test_the_last_line_counts_all_suites() -> None:
    suite = Suite("a", "unit", ("pytest",), suites.SHARED)
    first, second = Outcome(suite, 12, 0, 0, 1.0, ""), Outcome(suite, 3, 2, 1, 1.0, "")
    assert verb.summary([first]) == "12 passed, 0 failed"
    assert verb.summary([first, second]) == "15 passed, 2 failed, 1 skipped"


def test_a_failure_is_shown_and_makes_the_exit_code(checkout: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "provide", lambda *_: checkout.root)
    checkout.executor.answer(str(checkout.root / "bin/shellcheck"), code=1, stderr="SC2086 here")
    scripts = [str(path.relative_to(checkout.root)) for path in suites.shell_scripts(checkout.root)]
    assert scripts
    assert verb.test(checkout.context(), fast=True, only=["shellcheck"], every=False, extra=[]) == 1
    assert "SC2086 here" in checkout.out.getvalue()
    assert checkout.out.getvalue().endswith("\n0 passed, 1 failed\n")
    assert checkout.executor.calls[-1] == [str(checkout.root / "bin/shellcheck"), *scripts]
