"""A command under the entry point: it behaves as without, and nothing of a value leaves the container."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from redaction import supervisor

PRINT_EVERY_WAY = """
import logging, os, subprocess, sys, warnings
print("print anna@example.com")
sys.stderr.write("stderr anna@example.com\\n")
os.write(1, b"write anna@example.com\\n")
os.write(2, b"write anna@example.com\\n")
logging.basicConfig(); logging.warning("logging anna@example.com")
subprocess.run(["echo", "child anna@example.com"])
subprocess.run("echo child anna@example.com >&2", shell=True)
os.system("printf 'anna@exam'; sleep 0.5; printf 'ple.com'")
raise ValueError("traceback anna@example.com")
"""


def test_nothing_gets_out_however_it_is_printed(run) -> None:
    done = run(sys.executable, "-c", PRINT_EVERY_WAY)
    printed = done.stdout + done.stderr
    assert done.returncode == 1
    assert b"anna" not in printed
    assert b"example.com" not in printed
    assert done.stdout.count(b"[email]") == 4
    assert done.stderr.count(b"[email]") == 5  # the traceback shows its line and its message
    for way in (
        b"print [email]",
        b"stderr [email]",
        b"write [email]",
        b"logging [email]",
        b"child [email]",
        b"traceback",
    ):
        assert way in printed


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_the_exit_code_is_the_commands(run, code: int) -> None:
    assert run("sh", "-c", f"exit {code}").returncode == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_command_that_a_signal_ends_gives_128_and_the_signal(run, number: int) -> None:
    assert run("sh", "-c", f"kill -{int(number)} $$").returncode == 128 + number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_reach_the_command(start, number: int) -> None:
    process = start("sh", "-c", f"trap 'echo got; exit 9' {int(number)}; echo ready; while :; do sleep 0.05; done")
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    assert process.stdout.readline() == b"got\n"
    assert process.wait(20) == 9


def test_a_signal_before_the_command_runs_is_not_lost(start) -> None:
    process = start("sh", "-c", "sleep 30")  # the signal comes anywhere in the start
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in (128 + signal.SIGTERM, -signal.SIGTERM)


def test_a_command_that_is_not_there_is_said_so(run) -> None:
    done = run("no-such-command")
    assert (done.returncode, done.stderr) == (127, b"entrypoint: no-such-command: No such file or directory\n")
    assert run("/etc/passwd").returncode == 126


def test_the_last_words_of_a_killed_command_are_there(run) -> None:
    done = run("sh", "-c", "echo last words; printf 'and a half'; kill -9 $$")
    assert done.stdout == b"last words\nand a half"


def test_a_child_that_outlives_the_command_does_not_hold_the_container(run) -> None:
    started = time.monotonic()
    done = run("sh", "-c", "sleep 60 & echo done")
    assert done.stdout == b"done\n"
    assert time.monotonic() - started < 30


def test_a_prompt_without_end_of_line_streams(start) -> None:
    process = start("sh", "-c", "printf 'Continue? '; read answer; echo $answer")
    assert os.read(process.stdout.fileno(), 100) == b"Continue? "
    process.stdin.write(b"yes\n")
    process.stdin.flush()
    assert process.stdout.read() == b"yes\n"


def test_a_stream_that_talks_does_not_hold_up_the_prompt_of_the_other(start) -> None:
    process = start("sh", "-c", "printf 'Continue? '; while echo talk; do sleep 0.02; done >&2")
    assert os.read(process.stdout.fileno(), 100) == b"Continue? "


def test_standard_output_and_error_stay_apart_and_in_order(run) -> None:
    done = run("sh", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; done")
    assert done.stdout == b"out 1\nout 2\nout 3\n"
    assert done.stderr == b"err 1\nerr 2\nerr 3\n"


def test_a_command_notices_a_closed_pipe_as_without(run) -> None:
    # Python ignores SIGPIPE, and children inherit that: `yes` would print an error instead of ending quietly.
    assert run("sh", "-c", "yes | head -1").stderr == b""


def test_large_output_comes_through_whole(run) -> None:
    done = run(sys.executable, "-c", "print('x' * 99 + '\\n' * 1, end='') or [print('y' * 99) for _ in range(50_000)]")
    assert done.stdout == b"x" * 99 + b"\n" + (b"y" * 99 + b"\n") * 50_000


def test_a_line_of_20_megabytes_takes_little_memory(start) -> None:
    source = "import sys\nfor _ in range(320): sys.stdout.write('word ' * 13_000)"
    process = start(sys.executable, "-c", source)
    peak = 0
    while process.stdout.read(1 << 20):
        status = Path(f"/proc/{process.pid}/status").read_text()
        if "VmHWM" in status:
            peak = max(peak, int(status.split("VmHWM:")[1].split()[0]))
    assert process.wait(20) == 0
    assert 0 < peak < 40_000  # kB


def test_no_output_passes_when_the_redacting_process_is_killed(start) -> None:
    process = start("sh", "-c", "echo ready; trap '' PIPE; while sleep 0.05; do echo anna@example.com; done")
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    assert b"anna" not in process.stdout.read()


def test_only_secret_files_become_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "password").write_text("hush\n")
    (tmp_path / "certificates").write_text("-----BEGIN CERTIFICATE-----\n" * 100_000)
    monkeypatch.setattr(supervisor, "SECRETS", f"{secrets}/")
    loaded = supervisor.load_secrets({
        "DATABASE_PASSWORD_FILE": f"{secrets}/password",
        "SSL_CERT_FILE": f"{tmp_path}/certificates",
        "GONE_FILE": f"{secrets}/gone",
        "OUTSIDE_FILE": f"{secrets}/../certificates",
        "NOT": "DATABASE_PASSWORD_FILE=x",
    })  # fmt: skip
    assert loaded["DATABASE_PASSWORD"] == "hush"
    assert not {"SSL_CERT", "GONE", "OUTSIDE"} & loaded.keys()


def test_a_variable_that_names_the_certificates_does_not_stop_a_container(run, tmp_path: Path) -> None:
    # 1.5 MB in a variable: the kernel refused every command of such a container with "Argument list too long".
    (tmp_path / "certificates").write_text("x" * 1_500_000)
    done = run("sh", "-c", "echo ${SSL_CERT-unset}", SSL_CERT_FILE=str(tmp_path / "certificates"))
    assert done.stdout == b"unset\n"


def test_contents_of_secret_files_are_hidden_wherever_they_are_printed(tmp_path: Path) -> None:
    (tmp_path / "database_password").write_text("correct-horse\n")
    source = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from redaction import supervisor; "
        "supervisor.SECRETS = sys.argv.pop(1); supervisor.main(sys.argv[1:])"
    )
    library = str(Path(supervisor.__file__).parents[1])
    command = [sys.executable, "-ISc", source, library, f"{tmp_path}/", "echo", "it is xcorrect-horsex"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"it is x[secret]x\n"


def test_it_needs_the_standard_library_alone(run) -> None:
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-I", "-S", "-c", "import sys; sys.path.insert(0, sys.argv[1]); "
         "import redaction.relay, redaction.client, redaction.supervisor", str(Path(supervisor.__file__).parents[1])],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
