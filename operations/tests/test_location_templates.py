"""What ./stack location new writes is as clean as what is shipped, whatever the name."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from operations import calls
from operations.locations import scaffold
from operations.locations.scaffold import Wish

TEMPLATES = [name for name in scaffold.patterns() if name != "image"]
NAMES = ["x", "sales", "z_name_of_thirty_one_characters"]


def written(root: Path, like: str, name: str) -> Path:
    folder = root / "code_locations" / name
    scaffold.write(folder, Wish(name, like, owner="some-team", reads=("a", "b")), calls.ROOT)
    return folder


@pytest.mark.parametrize("like", TEMPLATES)
def test_it_passes_the_linters_by_any_name(tmp_path: Path, like: str) -> None:
    shutil.copy(calls.ROOT / "pyproject.toml", tmp_path)
    for name in NAMES:
        written(tmp_path, like, name)
    for command in (["check"], ["format", "--check", "--diff"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "."], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("like", TEMPLATES)
def test_it_has_all_that_a_location_has_and_no_placeholder_left(tmp_path: Path, like: str) -> None:
    folder = written(tmp_path, like, "sales")
    assert (folder / "src/sales/definitions.py").is_file()
    assert (folder / "pyproject.toml").is_file()
    assert list((folder / "tests").glob("test_*.py"))
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert not path.name.endswith(scaffold.SUFFIX)
            assert "$" not in text, path
            assert "NAME" not in str(path.relative_to(folder))
            if path.suffix in (".yml", ".yaml"):
                yaml.safe_load(text)


def test_a_dbt_location_attaches_the_lakes_that_it_may_read(tmp_path: Path) -> None:
    assert 'READS: tuple[str, ...] = ("a", "b")\n' in (written(tmp_path, "dbt", "s") / "src/s/project.py").read_text()
    scaffold.write(tmp_path / "one", Wish("one", "dbt", reads=("a",)), calls.ROOT)
    assert 'READS: tuple[str, ...] = ("a",)\n' in (tmp_path / "one/src/one/project.py").read_text()
