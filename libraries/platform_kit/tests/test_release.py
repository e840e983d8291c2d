"""The released wheel is the source of its version, and the locks pin that wheel."""

import hashlib
import re
import tomllib
import zipfile
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1]
ROOT = UNIT.parents[1]
INDEX = ROOT / "libraries" / "index"
VERSION = tomllib.loads((UNIT / "pyproject.toml").read_text())["project"]["version"]
WHEEL = INDEX / f"platform_kit-{VERSION}-py3-none-any.whl"


def test_the_wheel_of_this_version_has_this_source() -> None:
    files = [path for path in (UNIT / "src/platform_kit").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    source = {str(path.relative_to(UNIT / "src")): path.read_bytes() for path in files}
    with zipfile.ZipFile(WHEEL) as archive:
        released = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    assert released.keys() == source.keys()
    changed = [name for name, content in source.items() if released[name] != content]
    assert not changed, "a released version does not change: raise the version in pyproject.toml and release it"


def test_the_wheel_says_nothing_about_the_machine_that_built_it() -> None:
    with zipfile.ZipFile(WHEEL) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(2025, 1, 1, 0, 0, 0)}
        assert not [name for name in archive.namelist() if archive.read(name).find(b"file://") >= 0]


PROJECTS = ROOT.glob("code_locations/*/pyproject.toml")
LOCKS = [path.with_name("requirements.lock") for path in PROJECTS if re.search("platform[_-]kit", path.read_text())]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_a_lock_pins_the_released_wheel_and_nothing_else(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    entry = re.search(r"^platform-kit==(\S+) \\\n((?:\s+--hash=\S+(?: \\)?\n)+)", text, re.MULTILINE)
    assert entry
    wheel = INDEX / f"platform_kit-{entry[1]}-py3-none-any.whl"
    # One hash: a package of the same name in a public index cannot take the wheel's place.
    assert re.findall(r"sha256:(\w+)", entry[2]) == [hashlib.sha256(wheel.read_bytes()).hexdigest()]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.parent.name)
def test_a_lock_names_no_machine_and_no_index(lock: Path) -> None:
    lines = [line for line in lock.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert not [line for line in lines if "://" in line or "--find-links" in line or "--index" in line]
    header = lock.read_text(encoding="utf-8").split("\n")[1]
    assert "--find-links ../../libraries/index" in header
    assert " /" not in header
