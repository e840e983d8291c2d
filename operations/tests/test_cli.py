import io
import json
import os
import subprocess
import sys

import pytest

from operations import calls, cli, locks
from operations.errors import StackError
from operations.tests.fakes import Machine
from operations.verbs import status, user
from operations.verbs import test as test_verb

VERBS = ("up", "location", "down", "status", "doctor", "check", "test", "user")


@pytest.fixture
def checkout(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A checkout that the command line takes for its own, on a machine without Docker."""
    monkeypatch.setattr(calls, "ROOT", machine.root)
    monkeypatch.setenv("PATH", str(machine.root / "empty"))
    return machine


def run(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """A command line as a process of its own, on a machine without Docker."""
    environment = {**os.environ, "PATH": "/nonexistent", "COLUMNS": "300"}
    return subprocess.run(
        [sys.executable, "-m", "operations", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=environment,
        cwd=calls.ROOT,
        timeout=60,
        check=False,
    )


def test_help_lists_every_verb() -> None:
    result = run("--help")
    assert result.returncode == 0
    for verb in VERBS:
        assert f" {verb} " in result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_page_in_the_docs(verb: str) -> None:
    page = calls.ROOT / "docs" / "operations" / f"{verb}.md"
    assert f"./stack {verb}" in page.read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "remove"),
        ("--deployment",),
        ("--deployment", "Bad Name", "up"),
        ("--deployment", "../x", "down", "--delete-data", "--yes"),
        ("--deployment", "never-started", "down", "--delete-data"),
        ("--deployment", "never-started", "down"),
        ("--deployment", "never-started", "status"),
        ("--deployment", "never-started", "doctor"),
        ("--deployment", "never-started", "user", "add", "ana"),
        ("--deployment", "never-started", "user", "list"),
        ("test", "--only", "no-such-suite"),
    ],
)
def test_bad_input_ends_with_a_message_and_without_a_traceback(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("COLUMNS", "300")
    assert cli.main(list(arguments)) != 0
    told = capfd.readouterr()
    assert told.err.strip() or told.out.strip()
    assert "Traceback" not in told.err + told.out
    assert "unexpected:" not in told.err
    assert not (calls.ROOT / ".deployments" / "never-started").exists()


@pytest.mark.parametrize("arguments", [("no-such-verb",), ("up", "--no-such-option")])
def test_bad_input_of_a_process_of_its_own_as_well(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode not in (0, -9)
    assert result.stderr.strip() or result.stdout.strip()
    assert "Traceback" not in result.stderr + result.stdout


def test_a_machine_without_docker_is_told_what_to_install(
    checkout: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.made_env()
    assert cli.main(["status"]) == 1
    told = capsys.readouterr()
    assert "docker is not installed" in told.err
    assert "Traceback" not in told.err


def test_half_written_settings_are_told_with_their_line(checkout: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout.root / ".env").write_text("GATEWAY_PORT=3000\nGATEWAY_BI")
    (checkout.root / "secrets").mkdir()
    assert cli.main(["user", "list"]) == 1
    told = capsys.readouterr().err
    assert ".env:2: 'GATEWAY_BI' has no value" in told
    assert "do: edit line 2 of" in told


def test_a_lock_that_is_held_stops_a_changing_verb_and_not_a_looking_one(
    checkout: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.made_env()
    (checkout.root / "secrets").mkdir()
    with locks.hold(checkout.root / ".stack/prod/lock", "./stack up"):
        assert cli.main(["user", "remove", "ana"]) == locks.BUSY
        assert "`./stack up` by" in capsys.readouterr().err
        assert cli.main(["user", "list"]) == 0


def test_delete_data_is_asked_for_twice_where_nobody_can_answer(
    checkout: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.made_env()
    assert cli.main(["down", "--delete-data"]) == 1
    assert "--yes" in capsys.readouterr().err


def test_delete_data_needs_the_name_typed(checkout: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.made_env()
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert cli.main(["down", "--delete-data"]) == 1


def test_an_unexpected_error_is_one_line_unless_verbose(
    checkout: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(status, "status", broken)
    assert cli.main(["status"]) == 1
    told = capsys.readouterr().err
    assert "unexpected: RuntimeError: a bug" in told
    assert "Traceback" not in told
    assert cli.main(["--verbose", "status"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_error_keeps_its_own_exit_code(
    checkout: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise StackError("found", "expected", "do", code=7)

    monkeypatch.setattr(status, "status", broken)
    assert cli.main(["status"]) == 7
    assert capsys.readouterr().err == "✗ found\n  expected: expected\n  do: do\n"


def test_ctrl_c_ends_without_a_traceback(
    checkout: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "status", interrupted)
    assert cli.main(["status"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_text_of_others_is_no_markup(checkout: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--deployment", "[bold]x[/bold]", "status"]) == 1
    assert "'[bold]x[/bold]' is no name" in capsys.readouterr().err


def test_arguments_after_dashes_go_to_pytest(checkout: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}
    monkeypatch.setattr(test_verb, "test", lambda _, **options: seen.update(options) or 0)
    assert cli.main(["test", "--fast", "--only", "a", "--only", "b", "--", "-k", "x", "--pdb"]) == 0
    assert seen == {"fast": True, "only": ["a", "b"], "every": False, "extra": ["-k", "x", "--pdb"]}


def test_json_is_one_document_whatever_is_found(checkout: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["subject"] == "foundation"


def test_the_password_of_a_new_user_is_read_from_stdin(checkout: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.made_env()
    seen: list[object] = []
    monkeypatch.setattr(user, "add", lambda _, *arguments, **__: seen.extend(arguments))
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert cli.main(["user", "add", "ana", "--password-stdin"]) == 0
    assert seen == ["ana", [], ""]
