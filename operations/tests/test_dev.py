"""What ./stack dev is made of: whose folders, which locations, which environment, and that no process is left."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from operations import locks, waiting
from operations.development import places, processes
from operations.development.locations import Location, discover
from operations.development.places import Places
from operations.development.processes import Program
from operations.development.world import World
from operations.errors import StackError
from operations.gateway import Location as Loaded
from operations.gateway import UnreachableError
from operations.tests.fakes import FakeHost, Machine
from operations.verbs import dev as verb


def location(root: Path, name: str = "ingestion", package: str = "") -> Path:
    folder = root / "code_locations" / name
    (folder / "src" / name).mkdir(parents=True)
    (folder / "requirements.lock").write_text("")
    (folder / "pyproject.toml").write_text(f'[tool.dg.project]\nroot_module = "{package or name}"\n')
    (folder / "src" / name / "definitions.py").write_text("")
    return folder


def program(tmp_path: Path, source: str) -> Program:
    """A Python program that has begun when its file `ready` is there."""
    begun = f"import os, signal, subprocess, sys, time\n{source}\nopen('ready', 'w').close()\ntime.sleep(600)"
    return Program("it", [sys.executable, "-c", begun], dict(os.environ), tmp_path, tmp_path / "it.log")


def ready(tmp_path: Path) -> None:
    assert waiting.until(lambda: (tmp_path / "ready").exists() or None, 60, pause=0.02)


def is_alive(number: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return False


def test_two_developers_share_no_folder(tmp_path: Path) -> None:
    ada, grace = Places(tmp_path, "ada"), Places(tmp_path, "grace")
    for place in (ada, grace):
        place.make()
    made = {path.relative_to(tmp_path).parts[:3] for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {(".stack", "dev", "ada"), (".stack", "dev", "grace")}
    found = [place.environment([], {}) for place in (ada, grace)]
    for name in ("LAKE_ROOT", "DAGSTER_HOME", "DEVELOPER"):
        assert found[0][name] != found[1][name]


@pytest.mark.parametrize(
    ("given", "expected"), [("ada", "ada"), ("Grace.Hopper", "grace_hopper"), ("../root", "root"), ("…", "developer")]
)
def test_a_developers_name_is_a_folder_and_a_schema(monkeypatch: pytest.MonkeyPatch, given: str, expected: str) -> None:
    monkeypatch.setenv("DEVELOPER", given)
    assert places.developer() == expected


def test_nothing_of_a_deployment_reaches_a_developers_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DEPLOYMENT", "CODE_LOCATION", "POSTGRES_HOST", "POSTGRES_PASSWORD", "DAGSTER_CURRENT_IMAGE"):
        monkeypatch.setenv(name, "of a deployment")
    monkeypatch.setenv("SOURCE_DATABASE_HOST", "of the developer's shell")
    found = Places(tmp_path, "ada").environment([tmp_path / "src"], {"CODE_LOCATION": "ingestion"})
    assert "of a deployment" not in found.values()
    assert found["CODE_LOCATION"] == "ingestion"
    assert found["PYTHONPATH"] == str(tmp_path / "src")
    assert found["SOURCE_DATABASE_HOST"] == "of the developer's shell"


def test_a_locations_own_settings_are_read(tmp_path: Path) -> None:
    assert places.own_settings(tmp_path) == {}
    (tmp_path / ".env").write_text("# Mine.\nSOURCE_API_URL=http://127.0.0.1:8000\n")
    assert places.own_settings(tmp_path) == {"SOURCE_API_URL": "http://127.0.0.1:8000"}
    (tmp_path / ".env").write_text("SOURCE_API_URL\n")
    with pytest.raises(StackError, match=r"\.env:1: 'SOURCE_API_URL' has no value"):
        places.own_settings(tmp_path)


def test_locations_are_those_of_the_workspace_with_their_source_here(machine: Machine) -> None:
    location(machine.root)
    (found,) = discover(machine.root, [])
    assert (found.name, found.package, found.lock) == (
        "ingestion",
        "ingestion",
        "code_locations/ingestion/requirements.lock",
    )
    with pytest.raises(StackError, match="'analytics' cannot run here: its image is built elsewhere"):
        discover(machine.root, ["analytics"])
    with pytest.raises(StackError, match=r"'nowhere' cannot run here: workspace.yaml does not name it"):
        discover(machine.root, ["ingestion", "nowhere"])


def test_the_package_may_have_another_name_than_the_location(machine: Machine) -> None:
    folder = location(machine.root, package="ingestion_location")
    assert discover(machine.root, [])[0].package == "ingestion_location"
    (folder / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(StackError, match=r"pyproject.toml does not say which package") as error:
        discover(machine.root, [])
    assert "root_module" in error.value.expected


def test_a_change_is_one_of_source_lock_or_settings(tmp_path: Path) -> None:
    folder = location(tmp_path)
    here = Location("ingestion", folder, "ingestion")
    seen = [here.fingerprint()]
    for path in (".env", "src/ingestion/new.sql", "src/ingestion/definitions.py", "requirements.lock"):
        (folder / path).write_text("changed")
        seen.append(here.fingerprint())
    (folder / "src/ingestion/new.sql").unlink()
    seen.append(here.fingerprint())
    assert len(set(seen)) == len(seen)
    for path in (
        "src/ingestion/__pycache__/a.py",
        "src/ingestion/target/manifest.json",
        "src/ingestion/.swp/x.py",
        "src/notes.swp",
    ):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text("written by running it")
    assert here.fingerprint() == seen[-1]


def test_a_port_that_is_taken_is_said_before_anything_starts(machine: Machine) -> None:
    location(machine.root)
    with pytest.raises(StackError, match=r"port 3000 of 127.0.0.1 is taken") as error:
        verb.dev(machine.context(host=FakeHost(taken=(3000,))), [], 3000)
    assert "--port 3001" in error.value.do
    assert not (machine.root / ".stack").exists()


def test_a_developer_runs_it_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVELOPER", "ada")
    location(machine.root)
    held = Places(machine.root, "ada").home / "lock"
    with locks.hold(held, "./stack dev"), pytest.raises(StackError, match=r"`./stack dev`"):
        verb.dev(machine.context(), [], 3000)


def test_a_program_that_ignores_the_request_is_made_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "PATIENCE_SECONDS", 0.2)
    stubborn = program(tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    stubborn.start()
    ready(tmp_path)
    processes.end([stubborn])
    assert stubborn.is_gone()


def test_a_program_ends_with_all_that_it_started(tmp_path: Path) -> None:
    parent = program(tmp_path, "child = subprocess.Popen(['sleep', '600'])\nopen('child', 'w').write(str(child.pid))")
    parent.start()
    ready(tmp_path)
    child = int((tmp_path / "child").read_text())
    assert is_alive(child)
    processes.end([parent])
    assert not is_alive(child)


def test_what_hides_in_a_session_of_its_own_ends_as_well(tmp_path: Path) -> None:
    hidden = (
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\nopen('child', 'w').write(str(child.pid))"
    )
    parent = program(tmp_path, hidden)
    # In a process of its own, because it kills whatever it has adopted: here that would be pytest's children.
    source = f"""
import os, sys
from pathlib import Path
from operations import waiting
from operations.development import processes
from operations.development.processes import Program
with processes.adopting():
    it = Program("it", {parent._args!r}, dict(os.environ), Path({str(tmp_path)!r}), Path({str(tmp_path / "it.log")!r}))
    it.start()
    assert waiting.until(lambda: Path({str(tmp_path / "ready")!r}).exists() or None, 60, pause=0.02)
    processes.end([it])
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=90)
    assert not is_alive(int((tmp_path / "child").read_text()))


def test_ctrl_c_reaches_only_stack_itself(tmp_path: Path) -> None:
    """In a terminal the signal goes to the whole group; programs that got it as well would end in any order."""
    it = program(tmp_path, "")
    it.start()
    ready(tmp_path)
    assert it._process is not None
    assert os.getpgid(it._process.pid) != os.getpgid(0)
    processes.end([it])
    assert it._process.returncode == -signal.SIGTERM


def test_the_last_words_of_a_program_are_kept(tmp_path: Path) -> None:
    it = program(tmp_path, "sys.exit('the reason')")
    it.start()
    assert waiting.until(lambda: (not it.runs) or None, 60, pause=0.02)
    assert it.last_words() == "the reason"


def test_a_socket_in_use_is_told_from_a_file_that_nobody_serves(tmp_path: Path) -> None:
    from operations.development.world import _accepts

    path = tmp_path / "server"
    assert not _accepts(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        (tmp_path / "link").symlink_to("server")
        assert _accepts(tmp_path / "link")
    assert not _accepts(tmp_path / "link")


class SlowWebserver:
    """Says what it saw before a code server was there, until a reload has come to its end."""

    def __init__(self, *answers: str) -> None:
        # What a reload leads to: "" is loaded; "late" that nobody waited for its answer; else an error.
        self.answers, self.error, self.reloads = list(answers), "Could not reach user code server", 0

    def locations(self) -> list[Loaded]:
        return [Loaded("analytics", loading=False, error=self.error)]

    def reload(self, _: str) -> None:
        self.reloads += 1
        answer = self.answers.pop(0)
        if answer == "late":
            raise UnreachableError("timed out")
        self.error = answer


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([""], ""),
        # dbt parses: the webserver is asked again, and nothing is said of it before.
        (["late", "late", ""], ""),
        (["Could not reach user code server. gRPC Error code: DEADLINE_EXCEEDED", ""], ""),
        (["late", "ImportError: no such thing"], "ImportError: no such thing"),
    ],
)
def test_a_location_that_loads_slowly_is_waited_for(
    machine: Machine, tmp_path: Path, answers: list[str], error: str
) -> None:
    client = SlowWebserver(*answers)
    world = World(machine.context(), Places(machine.root, "ada"), [], 0, tmp_path)
    world._client = client  # type: ignore[assignment]
    world._servers = {"analytics": program(tmp_path, "")}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "analytics"))
        server.listen(100)
        world._servers["analytics"].start()
        (loaded,) = world._wait_for_locations()
    processes.end([*world._servers.values()])
    assert loaded.error == error
    assert client.reloads == len(answers)
