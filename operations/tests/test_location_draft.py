import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from operations.errors import StackError
from operations.locations import draft as drafts
from operations.locations.draft import drafting, finish


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "code_locations" / "old").mkdir(parents=True)
    (tmp_path / "code_locations" / "old" / "file").write_text("old")
    (tmp_path / "code_locations" / "other").mkdir()
    (tmp_path / "a.yml").write_text("a: [x]\n")
    (tmp_path / "b.txt").write_text("b\n")
    return tmp_path


def everything(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".stack" not in path.parts
    }


def change(draft: drafts.Draft) -> None:
    draft.yaml("a.yml").add(("a",), "y")
    draft.write("b.txt", "changed\n")
    draft.remove("code_locations/old")
    draft.new_folder = "code_locations/new"
    draft.lay_out()
    folder = draft.tree / "code_locations/new"
    folder.mkdir()
    (folder / "file").write_text("new")


AFTER = {"a.yml": "a: [x, y]\n", "b.txt": "changed\n", "code_locations/new/file": "new"}


def test_a_draft_that_is_not_carried_over_leaves_nothing(root: Path) -> None:
    before = everything(root)

    def interrupted() -> None:
        with drafting(root) as draft:
            change(draft)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert everything(root) == before
    assert [path.name for path in (root / ".stack").iterdir()] == ["location.lock"]


def test_the_draft_reads_as_the_repository_will(root: Path) -> None:
    before = everything(root)
    with drafting(root) as draft:
        change(draft)
        found = {str(path.relative_to(draft.tree)) for path in draft.tree.rglob("*") if path.is_file()}
        assert found == AFTER.keys()
        assert (draft.tree / "a.yml").read_text() == AFTER["a.yml"]
        assert (draft.tree / "code_locations/other").is_symlink()
        assert everything(root) == before


def test_what_is_carried_over_keeps_each_files_own_inode(root: Path) -> None:
    inode = (root / "a.yml").stat().st_ino
    with drafting(root) as draft:
        change(draft)
        draft.carry_over()
    assert everything(root) == AFTER
    assert (root / "a.yml").stat().st_ino == inode


class PowerCutError(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def cut(*_: object, **__: object) -> None:
    raise PowerCutError


def cut_in_the_first_file(monkeypatch: pytest.MonkeyPatch) -> None:
    store, stored = drafts._store, iter(range(9))

    def write(path: Path, text: str) -> None:
        # The two drafts and the journal come before it.
        if next(stored) == 3:
            path.write_text(text[:3])
            cut()
        store(path, text)

    monkeypatch.setattr(drafts, "_store", write)


CUTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "at the folder": lambda patch: patch.setattr(os, "rename", cut),
    "in a file": cut_in_the_first_file,
    "at the removal": lambda patch: patch.setattr(shutil, "rmtree", cut),
    "at the end": lambda patch: patch.setattr(Path, "unlink", cut),
}


@pytest.mark.parametrize("moment", CUTS)
def test_a_crash_at_any_moment_is_finished_by_the_next_call(
    root: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def crash() -> None:
        with drafting(root) as draft:
            change(draft)
            with monkeypatch.context() as patch:
                CUTS[moment](patch)
                draft.carry_over()

    with pytest.raises(PowerCutError):
        crash()
    finish(root)
    assert everything(root) == AFTER
    finish(root)
    assert not (root / ".stack" / "location").exists()


def test_ctrl_c_waits_for_the_end_of_the_writing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, over = os.rename, threading.Event()
    # What shows the progress has a thread, and the signal may come to that one.
    other = threading.Thread(target=over.wait)
    other.start()

    def interrupted(*arguments: Path) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        rename(*arguments)

    monkeypatch.setattr(os, "rename", interrupted)

    def carry_over() -> None:
        with drafting(root) as draft:
            change(draft)
            draft.carry_over()

    # Behind nohup, and in many a CI, Ctrl-C is ignored from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            carry_over()
    finally:
        signal.signal(signal.SIGINT, before)
        over.set()
        other.join()
    assert everything(root) == AFTER


def test_two_at_once_are_refused(root: Path) -> None:
    with drafting(root), pytest.raises(StackError, match=r"another .* is at work"), drafting(root):
        pass
