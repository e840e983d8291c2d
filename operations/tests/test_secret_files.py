import io
import os
from pathlib import Path

import pytest

from operations import secret_files
from operations.errors import StackError
from operations.tests.fakes import KILLED, killed


def test_secrets_are_readable_for_containers_behind_a_closed_door(tmp_path: Path) -> None:
    directory = tmp_path / "secrets"
    directory.mkdir(mode=0o755)
    secret_files.make_directory(directory)
    assert secret_files.create(directory / "a", "value")
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "a").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in directory.iterdir()] == ["a"]


def test_a_secret_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("first")
    assert not secret_files.create(path, "second")
    assert path.read_text() == "first"


def test_of_two_writers_at_once_the_second_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    link = os.link

    def late(source: str, target: Path) -> None:
        path.write_text("the other's")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert not secret_files.create(path, "mine")
    assert path.read_text() == "the other's"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_that_docker_made_in_place_of_a_secret_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(StackError, match="is a directory"):
        secret_files.create(tmp_path / "a", "value")


def test_rewriting_keeps_the_file_that_containers_have_mounted(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("a long old content\n")
    inode = path.stat().st_ino
    secret_files.rewrite(path, "short\n")
    assert path.read_text() == "short\n"
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("at", ["open", "write", "truncate", "unlink"])
@pytest.mark.parametrize("content", ["ada x\n", "ada x\nbob y\ncleo a longer line than before\n"])
def test_a_kill_at_each_step_of_rewriting_leaves_the_old_content_or_the_new_and_is_completed(
    tmp_path: Path, at: str, content: str
) -> None:
    path, before = tmp_path / "users", "ada x\nbob y\n"
    path.write_text(before)
    inode = path.stat().st_ino

    def killed_there() -> None:
        def die(*_: object, **__: object) -> None:
            os._exit(KILLED)

        class Raw(io.FileIO):
            def __init__(self, *arguments: object, **options: object) -> None:
                if at == "open":
                    die()
                super().__init__(path, "r+")

            write = die if at == "write" else io.FileIO.write  # type: ignore[assignment]
            truncate = die if at == "truncate" else io.FileIO.truncate  # type: ignore[assignment]

        patch = pytest.MonkeyPatch()
        patch.setattr(Path, "open", Raw)
        if at == "unlink":
            patch.setattr(Path, "unlink", die)
        secret_files.rewrite(path, content)

    assert killed(killed_there)
    left = path.read_text()
    assert left in (before, content) or left.rstrip("\n") == content.rstrip("\n")
    secret_files.make_directory(tmp_path)
    assert (path.read_text(), path.stat().st_ino) == (content, inode)
    assert [each.name for each in tmp_path.iterdir()] == ["users"]


def test_generated_secrets_have_32_random_bytes() -> None:
    drawn = {secret_files.generate() for _ in range(50)}
    assert len(drawn) == 50
    assert all(len(secret) == 43 for secret in drawn)


def test_settings_beside_the_code_of_a_location_reach_neither_an_image_nor_git() -> None:
    root = Path(__file__).parents[2]
    built = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    # The last pattern that matches counts, and what is let in comes first.
    allowed = max(number for number, line in enumerate(built) if line.startswith("!"))
    assert {"**/.env", "**/.env.*"} <= set(built[allowed:])
    assert ".env" in (root / ".gitignore").read_text(encoding="utf-8").splitlines()
