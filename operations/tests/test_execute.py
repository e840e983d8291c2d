import sys
from pathlib import Path

import pytest

from operations import execute, waiting
from operations.execute import CommandError, Shell

PYTHON = sys.executable


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_output_and_code_come_back(shell: Shell, tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd()); print('e', file=sys.stderr); sys.exit(3)"
    result = shell.run([PYTHON, "-c", code], check=False)
    assert (result.code, result.stdout, result.stderr) == (3, f"{tmp_path}\n", "e\n")


def test_a_program_that_is_not_installed_ends_as_in_a_shell(shell: Shell) -> None:
    assert shell.run(["no-such-program"], check=False).code == 127
    assert shell.stream(["no-such-program"], print, check=False).code == 127
    with pytest.raises(CommandError, match="no-such-program is not installed"):
        shell.run(["no-such-program"])


def test_a_program_that_asks_a_question_gets_no_answer_instead_of_waiting(shell: Shell) -> None:
    code = "import sys; print(repr(sys.stdin.read()))"
    assert shell.run([PYTHON, "-c", code], timeout=20).stdout == "''\n"
    lines: list[str] = []
    shell.stream([PYTHON, "-c", code], lines.append)
    assert lines == ["''"]


def test_a_program_that_hangs_is_ended(shell: Shell) -> None:
    result = shell.run([PYTHON, "-c", "import threading; threading.Event().wait()"], timeout=0.3, check=False)
    assert (result.code, result.stderr) == (124, "no answer within 0.3 s")


@pytest.mark.parametrize("limit", [["timeout", "--foreground", "600"], []], ids=["below a time limit", "by itself"])
def test_a_program_whose_reader_alone_was_interrupted_ends_with_what_it_started(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: list[str]
) -> None:
    monkeypatch.setattr(execute, "OWN_SECONDS", 0.1)
    code = "import os, threading; print(os.getpid(), flush=True); threading.Event().wait()"
    started: list[int] = []

    def interrupted(line: str) -> None:
        started.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shell.stream([*limit, PYTHON, "-c", code], interrupted)
    gone = waiting.until(lambda: (not Path(f"/proc/{started[0]}").exists()) or None, 20, pause=0.05)
    assert gone


def test_lines_are_handed_over_as_they_come_and_the_last_are_kept(shell: Shell) -> None:
    lines: list[str] = []
    code = "import sys\nfor i in range(300): print(i, file=sys.stderr)\nsys.exit(1)"
    result = shell.stream([PYTHON, "-c", code], lines.append, check=False)
    assert len(lines) == 300
    assert result.stderr.splitlines() == [str(number) for number in range(100, 300)]


def test_arguments_are_no_shell_words(shell: Shell) -> None:
    code = "import sys; print(sys.argv[1:])"
    assert shell.run([PYTHON, "-c", code, "$(id)", "a b", "*"]).stdout == "['$(id)', 'a b', '*']\n"


def test_an_error_names_the_command_and_its_last_words(shell: Shell) -> None:
    with pytest.raises(CommandError) as error:
        shell.run([PYTHON, "-c", "import sys; print('\\n'.join(map(str, range(9))), file=sys.stderr); sys.exit(9)"])
    assert "ended with 9: 4\n5\n6\n7\n8" in error.value.found


def test_only_a_verbose_call_shows_commands(tmp_path: Path) -> None:
    shown: list[str] = []
    Shell(tmp_path, shown.append).run([PYTHON, "-c", "pass"])
    assert shown == [f"$ {PYTHON} -c pass"]
