"""Old compute logs go, whatever else a location puts into its folder stays out of reach: attacks by name."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from platform_location import files

OLD, NOW = 1_000_000_000, 2_000_000_000
RUN = "0b5f8a3e-0000-4000-8000-000000000001"
GOES_ON = "0b5f8a3e-0000-4000-8000-000000000002"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs" / "ingestion"
    for run in (RUN, GOES_ON):
        (folder / run / "compute_logs").mkdir(parents=True)
        for name in ("step.out", "step.err"):
            (folder / run / "compute_logs" / name).write_text("printed")
    return folder


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another location's lake, beside the folder."""
    folder = tmp_path / "lake" / "analytics"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.parquet").write_text("rows")
    return folder


def age(folder: Path, moment: int = OLD) -> None:
    """Makes everything below a folder old, links themselves included."""
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (moment, moment), follow_symlinks=False)


def prune(logs: Path, *, dry_run: bool = False) -> files.Pruned:
    return files.prune(logs, (OLD + NOW) / 2, {GOES_ON}.__contains__, dry_run=dry_run)


def test_old_logs_go_with_their_folders_and_those_of_a_run_that_goes_on_stay(logs: Path) -> None:
    age(logs)
    pruned = prune(logs)
    assert (pruned.files, pruned.bytes, pruned.left) == (2, 14, [])
    assert sorted(path.name for path in logs.iterdir()) == [GOES_ON]
    assert len(list((logs / GOES_ON).rglob("step.*"))) == 2


def test_young_logs_stay(logs: Path) -> None:
    age(logs, NOW)
    assert prune(logs).files == 0
    assert len(list(logs.rglob("step.*"))) == 4


def test_a_young_log_keeps_its_folder_and_not_its_old_neighbour(logs: Path) -> None:
    age(logs)
    os.utime(logs / RUN / "compute_logs" / "step.err", (NOW, NOW))
    assert prune(logs).files == 1
    assert [path.name for path in (logs / RUN).rglob("step.*")] == ["step.err"]


def test_a_dry_run_counts_and_deletes_nothing(logs: Path) -> None:
    age(logs)
    assert (prune(logs, dry_run=True).files, len(list(logs.rglob("step.*")))) == (2, 4)


def to_folder(logs: Path, other: Path) -> None:
    (logs / "door").symlink_to(other)


def to_file(logs: Path, other: Path) -> None:
    (logs / RUN / "compute_logs" / "more.out").symlink_to(other / "data.parquet")


def up_and_over(logs: Path, other: Path) -> None:
    (logs / RUN / "door").symlink_to("../../../lake/analytics")


def to_everything(logs: Path, _: Path) -> None:
    (logs / "root").symlink_to("/")


def to_itself(logs: Path, _: Path) -> None:
    (logs / "loop").symlink_to("loop")


LINKS = [to_folder, to_file, up_and_over, to_everything, to_itself]


@pytest.mark.parametrize("plant", LINKS, ids=lambda plant: plant.__name__)
def test_a_link_to_another_lake_goes_and_what_it_leads_to_stays(
    logs: Path, other: Path, plant: Callable[[Path, Path], None]
) -> None:
    plant(logs, other)
    age(logs)
    age(other)
    assert prune(logs).files == 3
    assert (other / "data.parquet").read_text() == "rows"


def test_a_folder_that_becomes_a_link_between_look_and_step_is_not_entered(
    logs: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age(logs)
    age(other)
    look = os.stat

    def swap(path: object, *args: object, **how: object) -> os.stat_result:
        found = look(path, *args, **how)  # type: ignore[call-overload]
        if path == "compute_logs":
            os.rename(logs / RUN / "compute_logs", logs.parent / "moved")
            (logs / RUN / "compute_logs").symlink_to(other)
            monkeypatch.setattr(os, "stat", look)
        return found  # type: ignore[no-any-return]

    monkeypatch.setattr(os, "stat", swap)
    pruned = prune(logs)
    assert (other / "data.parquet").read_text() == "rows"
    assert len(pruned.left) == 1


def test_pipes_and_sockets_are_deleted_and_never_opened(logs: Path) -> None:
    os.mkfifo(logs / RUN / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.getcwd()
        os.chdir(logs / RUN)
        try:
            listener.bind("socket")
        finally:
            os.chdir(folder)
    age(logs)
    assert prune(logs).files == 4


def test_a_folder_deeper_than_any_log_is_left_and_told(logs: Path) -> None:
    deep = logs / "/".join(["d"] * (files.DEEPEST + 3))
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    age(logs)
    pruned = prune(logs)
    assert len(pruned.left) == 1
    assert "deeper than any log" in pruned.left[0]
    assert not (logs / RUN).exists()


@pytest.mark.parametrize("name", ["with\nline", "*", "-rf", "..data", " ", "\u202e"])
def test_a_strange_name_is_a_name(logs: Path, name: str) -> None:
    (logs / name).write_text("x")
    age(logs)
    assert prune(logs).files == 3
    assert not (logs / name).exists()


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a\0b", "/".join("a" * 40)]
)
def test_a_path_that_could_lead_elsewhere_is_none(path: str) -> None:
    with pytest.raises(files.UnsafePathError, match="is no path of a file below the folder"):
        files.parts_of(path)


def test_a_new_file_replaces_none_and_goes_through_no_link(logs: Path, other: Path) -> None:
    to_folder(logs, other)
    with pytest.raises(OSError, match=r"Not a directory|Too many"):
        files.open_to_create(logs, ("door", "new.parquet"))
    with pytest.raises(FileExistsError):
        files.open_to_create(logs, (RUN, "compute_logs", "step.out"))
    with pytest.raises(OSError, match=r"Not a directory|Too many"):
        files.open_to_read(logs, ("door", "data.parquet"))
    with pytest.raises(files.UnsafePathError, match="is no regular file"):
        files.open_to_read(logs, (RUN, "compute_logs"))
