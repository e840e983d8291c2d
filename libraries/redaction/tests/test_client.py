"""Captures and hidden values, asked for by a process under the entry point."""

import sys
from pathlib import Path

import pytest

from redaction import client

CAPTURE = """
import os, subprocess, sys
from redaction import client
out, err = sys.argv[1:3]
print("before anna@example.com")
with client.capture(out, err):
    print("inside anna@example.com")
    os.write(2, b"inside error anna@example.com\\n")
    subprocess.run("echo child anna@example.com; echo child anna@example.com >&2", shell=True)
    sys.stdout.write("no end")
print("after")
print(sorted(os.listdir("/proc/self/fd"), key=int), file=sys.stderr)
"""
NESTED = """
import multiprocessing, os, sys
from redaction import client
def step(number):
    with client.capture(f"{sys.argv[1]}/{number}.out", f"{sys.argv[1]}/{number}.err"):
        for turn in range(200):
            print(f"step {number} anna@example.com {turn}")
if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=step, args=(number,)) for number in range(6)]
    [process.start() for process in processes]
    [process.join() for process in processes]
"""
STREAM = """
import sys
from redaction import client
with client.capture(*sys.argv[1:3]):
    print("first anna@example.com", flush=True)
    sys.stdin.readline()
    print("second", flush=True)
"""
HIDE = """
from redaction import client
print("Anna Smith")
client.hide(["Anna Smith", "42 Elm Street", *(f"person{n} family{n}" for n in range(20_000)), "x", ""])
print("Anna Smith of 42 Elm Street, x, person19999 family19999", flush=True)
import subprocess
subprocess.run(["echo", "Anna Smith"])
"""
LATE = """
import subprocess, sys
from redaction import client
with client.capture(*sys.argv[1:3]):
    child = subprocess.Popen(["sh", "-c", "read line; echo late anna@example.com"], stdin=subprocess.PIPE)
child.communicate(b"go\\n")
print("end")
"""


def test_a_capture_has_what_is_printed_within_and_so_has_the_container(run, tmp_path: Path) -> None:
    out, err = tmp_path / "1.out", tmp_path / "1.err"
    done = run(sys.executable, "-c", CAPTURE, str(out), str(err))
    assert out.read_text() == "inside [email]\nchild [email]\nno end"
    assert err.read_text() == "inside error [email]\nchild [email]\n"
    assert done.stdout == b"before [email]\n" + out.read_bytes() + b"after\n"
    assert done.stderr.startswith(err.read_bytes())
    assert done.stderr.endswith(b"['0', '1', '2', '3']\n")  # nothing stays open


def test_a_capture_streams_while_it_goes_on(start, tmp_path: Path) -> None:
    out = tmp_path / "1.out"
    process = start(sys.executable, "-c", STREAM, str(out), str(tmp_path / "1.err"))
    assert process.stdout.readline() == b"first [email]\n"
    assert out.read_text() == "first [email]\n"
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.stdout.read() == b"second\n"
    assert out.read_text() == "first [email]\nsecond\n"


def test_captures_beside_each_other_do_not_mix(run, tmp_path: Path) -> None:
    done = run(sys.executable, "-c", NESTED, str(tmp_path))
    assert done.returncode == 0, done.stderr
    for number in range(6):
        expected = "".join(f"step {number} [email] {turn}\n" for turn in range(200))
        assert (tmp_path / f"{number}.out").read_text() == expected
    assert len(done.stdout.splitlines()) == 1200


def test_what_a_child_prints_after_the_capture_is_redacted_too(run, tmp_path: Path) -> None:
    out = tmp_path / "1.out"
    done = run(sys.executable, "-c", LATE, str(out), str(tmp_path / "1.err"))
    assert out.read_text() == "late [email]\n"
    assert sorted(done.stdout.splitlines()) == [b"end", b"late [email]"]


def test_a_full_disk_loses_the_file_and_holds_up_nobody(run, tmp_path: Path) -> None:
    done = run(sys.executable, "-c", CAPTURE, "/dev/full", str(tmp_path / "1.err"))
    assert done.returncode == 0
    assert b"inside [email]" in done.stdout


def test_hidden_values_are_hidden_in_the_whole_container_at_once(run) -> None:
    done = run(sys.executable, "-c", HIDE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"Anna Smith\n[personal] of [personal], x, [personal]\n[personal]\n"


def test_values_are_in_no_argument_file_or_variable(start) -> None:
    source = (
        "from redaction import client\nclient.hide([' '.join(['Anna', 'Smith'])])\nprint('ready', flush=True)\ninput()"
    )
    process = start(sys.executable, "-c", source)
    assert process.stdout.readline() == b"ready\n"
    for name in ("cmdline", "environ"):
        assert b"Anna Smith" not in Path(f"/proc/{process.pid}/{name}").read_bytes()
    assert not [path for path in Path("/tmp").glob("*redaction*") if path.is_file()]


def test_without_the_entry_point_nothing_is_captured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REDACTION_SOCKET", raising=False)
    with pytest.raises(client.NoSupervisorError, match="entry point is not the deployment's"):
        client.capture(str(tmp_path / "out"), str(tmp_path / "err")).__enter__()
    client.hide(["Anna Smith"])  # on a laptop: this process alone knows
    assert client.hidden.spans("by Anna Smith")


@pytest.mark.parametrize(
    "request_text",
    [
        "",
        "{",
        "[]",
        '{"do": "x"}',
        '{"do": "end", "streams": [99]}',
        '{"do": "capture"}',
        '{"do": "hide", "values": 7}',
        pytest.param("[" * 60_000, id="lists in lists"),
        pytest.param('{"do": "hide", "values": [' + "[" * 30_000 + "]" * 30_000 + "]}", id="values in lists in lists"),
        pytest.param('{"x":' * 12_000 + "1" + "}" * 12_000, id="objects in objects"),
    ],
)
def test_a_wrong_request_harms_nobody(run, request_text: str) -> None:
    source = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "s.connect(chr(0) + os.environ['REDACTION_SOCKET'][1:])\n"
        "s.send(sys.argv[1].encode() or b'\\xff')\n"
        "s.recv(100); print('still anna@example.com')"
    )
    done = run(sys.executable, "-c", source, request_text)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"still [email]\n", b"")
