import os
from pathlib import Path

import pytest

from operations import environment_file
from operations.errors import StackError

EXAMPLE = "# Its port.\nGATEWAY_PORT=3000\n\n# Its secrets.\nSECRETS_DIR=./secrets\n"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / ".env.example"
    path.write_text(EXAMPLE)
    return path


def test_settings_are_read_as_compose_reads_them() -> None:
    text = "A=1\nexport B = two words # said aside\nC='single # kept'\nD=\"double\"\nE=\nF=a#b\n"
    values = {key: setting.value for key, setting in environment_file.parse(text, ".env").items()}
    assert values == {"A": "1", "B": "two words", "C": "single # kept", "D": "double", "E": "", "F": "a#b"}


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("GATEWAY_PORT=3000\nGATEWAY_BI", 2, "has no value; was the file cut off"),
        ("A=1\n\nB=2\nA=3\n", 4, "A is set twice, first in line 1"),
        ("9A=1\n", 1, "'9A' is no name of a setting"),
        ("A=1\nB='open\n", 2, "quote that opens the value of B is not closed"),
    ],
)
def test_a_half_written_file_is_refused_with_its_line(text: str, line: int, found: str) -> None:
    with pytest.raises(StackError) as error:
        environment_file.parse(text, "/x/.env")
    assert f"/x/.env:{line}: " in error.value.found
    assert found in error.value.found
    assert f"line {line}" in error.value.do


def test_an_unknown_setting_is_refused_with_the_nearest_name(tmp_path: Path, example: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("GATEWAY_PROT=3000\n")
    with pytest.raises(StackError, match=r"\.env:1: unknown setting GATEWAY_PROT; did you mean GATEWAY_PORT\?"):
        environment_file.read(path, example)


def test_variables_of_compose_itself_are_no_unknown_settings(tmp_path: Path, example: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("COMPOSE_PROFILES=a\n")
    assert environment_file.read(path, example) == {"COMPOSE_PROFILES": "a"}


def test_a_new_file_is_the_example_with_its_comments_and_own_values(tmp_path: Path, example: Path) -> None:
    path = tmp_path / "deep" / ".env"
    assert environment_file.create(path, example, {"GATEWAY_PORT": "3001"})
    assert path.read_text() == EXAMPLE.replace("3000", "3001")
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_existing_file_is_never_overwritten(tmp_path: Path, example: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("GATEWAY_PORT=80\n")
    assert not environment_file.create(path, example, {})
    assert path.read_text() == "GATEWAY_PORT=80\n"


def test_new_settings_are_appended_with_their_comment_and_values_stay(tmp_path: Path, example: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("GATEWAY_PORT=80")
    assert environment_file.append_new(path, example) == ["SECRETS_DIR"]
    assert path.read_text() == "GATEWAY_PORT=80\n\n# Its secrets.\nSECRETS_DIR=./secrets\n"
    assert environment_file.append_new(path, example) == []


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".env"
    path.write_text("GATEWAY_PORT=80\n")

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        environment_file.append_new(path, example)
    assert path.read_text() == "GATEWAY_PORT=80\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".env", ".env.example"]
