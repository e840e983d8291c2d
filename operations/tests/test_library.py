"""Releases of the library, with real builds, locks and tests, in a checkout of two locations, one of them careless."""

import io
import subprocess
import zipfile
from pathlib import Path

import pytest
from rich.console import Console

from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.execute import Shell
from operations.library import index, release
from operations.library.release import Library
from operations.locations.scaffold import LOCK
from operations.report import Report
from operations.testing import environments
from operations.verbs import library as verb

ROOT = Path(__file__).resolve().parents[2]
RUNS_TESTS = {"pytest", "pytest-timeout", "pluggy", "iniconfig", "packaging", "pygments"}
KIT = """\
[project]
name = "platform_kit"
version = "0.1.0"
requires-python = ">=3.11"

[build-system]
requires = ["hatchling==1.33.0"]
build-backend = "hatchling.build"
"""
LOCATION = """\
[project]
name = "{name}"
version = "1.0.0"
requires-python = ">=3.11"
dependencies = ["platform_kit==0.1.0"]
"""


class Checkout:
    """A project with the library, an empty index, and the locations `careful` and `careless`."""

    def __init__(self, root: Path) -> None:
        self.root, self.library = root, Library(root)
        self.out, self.err = io.StringIO(), io.StringIO()
        tools = (ROOT / "tests/tools.lock").read_text()
        lean = environments.without(tools, environments.names(tools) - RUNS_TESTS)
        self.write("tests/tools.lock", lean)
        self.write("tests/requirements.lock", lean)
        self.write("pyproject.toml", '[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\n')
        self.write(
            ".env.example", "# Builds.\nPACKAGE_INDEX=\nLIBRARY_INDEX=\nLIBRARY_INDEX_USER=\nSECRETS_DIR=./secrets\n"
        )
        self.write(".gitignore", ".stack/\n.venv/\n__pycache__/\n")
        self.write("libraries/platform_kit/pyproject.toml", KIT)
        self.make_kit(
            "def hello() -> str:\n    return 'hello'\n\n\ndef here() -> str:\n    return 'here'\n", "hello", "here"
        )
        for name, used in (("careful", "here"), ("careless", "hello")):
            folder = f"code_locations/{name}"
            self.write(f"{folder}/pyproject.toml", LOCATION.format(name=name))
            self.write(f"{folder}/src/{name}/__init__.py", f"import platform_kit\n\nWORD = platform_kit.{used}()\n")
            self.write(
                f"{folder}/tests/test_it.py", f"import {name}\n\n\ndef test_it():\n    assert {name}.WORD == '{used}'\n"
            )
        self.git("init", "--quiet", "--initial-branch", "main")
        self.commit()

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def make_kit(self, source: str, *tested: str) -> None:
        self.write("libraries/platform_kit/src/platform_kit/__init__.py", source)
        checks = "".join(f"    assert platform_kit.{name}() == '{name}'\n" for name in tested)
        self.write("libraries/platform_kit/tests/test_kit.py", f"import platform_kit\n\n\ndef test_it():\n{checks}")

    def lock(self) -> None:
        for folder in (self.root / "code_locations").iterdir():
            command = [environments.uv(), "--directory", str(folder), *LOCK.split()[1:], "--quiet"]
            self.context.executor.run(command, env={**environments.UV, "UV_CUSTOM_COMPILE_COMMAND": LOCK})

    def git(self, *args: str) -> None:
        who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", *who, *args], cwd=self.root, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A state of it")

    @property
    def context(self) -> Context:
        report = Report(Console(file=self.out, width=200), Console(file=self.err, width=200))
        return Context(Deployment(self.root), Shell(self.root), report)

    def release(self, *, version: str | None = None, bump: str | None = None, into: tuple[str, ...] = ()) -> int:
        return verb.publish(self.context, version, bump, list(into))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def released(checkout: Checkout) -> Checkout:
    """Version 0.1.0 released, locked by both locations, and committed."""
    assert checkout.release() == 0
    checkout.lock()
    checkout.commit()
    return checkout


def test_a_breaking_release_is_caught_by_the_tests_of_the_location_that_it_breaks(released: Checkout) -> None:
    first = released.library.wheel("0.1.0").read_bytes()
    before = {
        path: released.read(f"code_locations/careless/{path}") for path in ("pyproject.toml", "requirements.lock")
    }
    released.make_kit("def here() -> str:\n    return 'here'\n", "here")
    released.commit()

    assert released.release(bump="minor", into=("careful", "careless")) == 1

    assert "platform_kit==0.2.0" in released.read("code_locations/careful/pyproject.toml")
    lock = released.read("code_locations/careful/requirements.lock")
    assert f"--hash=sha256:{release.checksum(released.library.wheel('0.2.0'))}" in lock
    assert "platform-kit==0.2.0" in lock
    assert lock.splitlines()[1] == f"#    {LOCK}"
    assert {path: released.read(f"code_locations/careless/{path}") for path in before} == before
    assert released.library.wheel("0.1.0").read_bytes() == first
    assert "careful: 0.1.0 → 0.2.0" in released.out.getvalue()
    assert "careless stays on 0.1.0" in released.err.getvalue()
    assert "has no attribute 'hello'" in released.err.getvalue()

    # The team mends it, and takes the version that has been there since.
    released.write("code_locations/careless/src/careless/__init__.py", "WORD = 'hello'\n")
    assert released.release(version="0.2.0", into=("careless",)) == 0
    assert "platform-kit==0.2.0" in released.read("code_locations/careless/requirements.lock")


def test_the_same_source_gives_the_same_wheel(released: Checkout) -> None:
    first = released.library.wheel("0.1.0").read_bytes()
    released.library.wheel("0.1.0").unlink()
    released.library.folder.joinpath("src/platform_kit/__init__.py").touch()
    assert released.release() == 0
    assert released.library.wheel("0.1.0").read_bytes() == first
    with zipfile.ZipFile(released.library.wheel("0.1.0")) as wheel:
        assert {entry.date_time for entry in wheel.infolist()} == {(2025, 1, 1, 0, 0, 0)}


def test_a_failing_library_is_not_released(checkout: Checkout) -> None:
    checkout.make_kit("def here() -> str:\n    return 'elsewhere'\n", "here")
    checkout.commit()
    with pytest.raises(StackError, match="tests of libraries/platform_kit fail"):
        checkout.release(bump="minor")
    assert (checkout.library.version, checkout.library.released()) == ("0.1.0", [])


def test_uncommitted_changes_are_not_released(checkout: Checkout) -> None:
    checkout.write("libraries/platform_kit/src/platform_kit/new.py", "")
    with pytest.raises(StackError, match=r"not committed: libraries/platform_kit/src/platform_kit/new.py") as error:
        checkout.release()
    assert "commit them" in error.value.do
    assert checkout.library.released() == []


def test_a_released_version_is_never_built_again(checkout: Checkout) -> None:
    checkout.write("libraries/index/platform_kit-0.1.0-py3-none-any.whl", "as it was released")
    with pytest.raises(StackError, match=r"platform_kit 0.1.0 is released") as error:
        checkout.release()
    assert "--bump" in error.value.do
    with pytest.raises(StackError, match=r"0.0.9 is older than 0.1.0"):
        checkout.release(version="0.0.9")
    assert checkout.library.wheel("0.1.0").read_text() == "as it was released"


@pytest.mark.parametrize(
    ("version", "bump", "expected"),
    [(None, "patch", "0.9.11"), (None, "minor", "0.10.0"), (None, "major", "1.0.0"), ("2.0.0", None, "2.0.0")],
)
def test_a_bump_counts_from_the_last_release(
    checkout: Checkout, version: str | None, bump: str | None, expected: str
) -> None:
    for there in ("0.9.9", "0.9.10"):
        checkout.write(f"libraries/index/platform_kit-{there}-py3-none-any.whl", "")
    assert release.chosen(checkout.library, version, bump) == expected


@pytest.mark.parametrize(
    ("version", "bump"), [("1.0", None), ("1.0.0rc1", None), ("../1.0.0", None), (None, "huge"), ("1.0.0", "patch")]
)
def test_what_is_no_version_is_refused(checkout: Checkout, version: str | None, bump: str | None) -> None:
    with pytest.raises(StackError):
        release.chosen(checkout.library, version, bump)


def test_a_mistyped_location_is_found_before_anything_is_built(checkout: Checkout) -> None:
    with pytest.raises(StackError, match="nowhere"):
        checkout.release(into=("nowhere",))
    assert checkout.library.released() == []


def test_the_password_of_a_private_index_goes_by_environment_alone(checkout: Checkout) -> None:
    deployment = checkout.context.deployment
    assert index.variables(deployment) == {}
    checkout.write(".env", "LIBRARY_INDEX=https://index.internal/simple/\nLIBRARY_INDEX_USER=builder\n")
    with pytest.raises(StackError, match="library_index_password cannot be read"):
        index.variables(deployment)
    checkout.write("secrets/library_index_password", "not to be seen\n")
    assert index.variables(deployment) == {
        "UV_INDEX": "libraries=https://index.internal/simple/",
        "UV_INDEX_LIBRARIES_USERNAME": "builder",
        "UV_INDEX_LIBRARIES_PASSWORD": "not to be seen",
    }
    commands = [*environments.create(Path("x")), *environments.install(Path("x"), Path("y"), checkout.root)]
    assert "not to be seen" not in " ".join(commands)
