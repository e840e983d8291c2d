"""The files that a release is built from are those that its name stands for: nothing in the commit says otherwise."""

import subprocess
from pathlib import Path

import pytest

from operations.context import Context
from operations.deployment import Deployment
from operations.execute import Shell
from operations.releases import tree
from operations.report import Report

ATTRIBUTES = """\
[attr]hidden export-ignore
code_locations/sales/tests export-ignore
gate.py hidden
version.txt export-subst
windows.txt text eol=crlf
wide.txt text working-tree-encoding=UTF-16
id.txt ident
large.bin filter=lfs
"""
FILES = {
    "code_locations/sales/tests/test_x.py": "assert False\n",
    "gate.py": "raise SystemExit('refused')\n",
    "version.txt": "$Format:%an$\n",
    "windows.txt": "one\ntwo\n",
    "wide.txt": "wide\n",
    "id.txt": "$Id$\n",
    "large.bin": "version https://git-lfs.github.com/spec/v1\n",
    "stack": "#!/bin/sh\n",
    # Last: as soon as it is there, git takes other files as it says.
    ".gitattributes": ATTRIBUTES,
}


def git(at: Path, *args: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    return subprocess.run(["git", "-C", at, *who, *args], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A commit whose attributes ask for other files than it has."""
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        git(root, "add", name)
    (root / "stack").chmod(0o755)
    (root / "link").symlink_to("version.txt")
    git(root, "add", "stack", "link")
    git(root, "commit", "--quiet", "--message", "x")
    git(root, "config", "filter.lfs.smudge", "echo planted")
    return root


def test_attributes_of_the_commit_change_nothing_of_what_is_built(repository: Path) -> None:
    context = Context(Deployment(repository), Shell(repository), Report())
    commit = tree.resolve(context.executor, repository, None)
    hashed = tree.blobs(context.executor, repository, commit, ["."])
    with tree.exported(context, repository, commit) as files:
        found = {str(path.relative_to(files.root)) for path in files.root.rglob("*") if not path.is_dir()}
        assert found == set(hashed) == {*FILES, "link"}
        for name, about in hashed.items():
            path = files.root / name
            content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
            blob = subprocess.run(
                ["git", "-C", repository, "hash-object", "--stdin", "--no-filters"],
                input=content, capture_output=True, check=True,
            ).stdout.decode().strip()  # fmt: skip
            assert about.split()[2] == blob, name
        assert (files.root / "stack").stat().st_mode & 0o777 == 0o755
        assert (files.root / "gate.py").stat().st_mode & 0o777 == 0o644
    assert not (repository / ".stack/prod/releasing").exists()
    # The repository itself is as it was.
    assert not (repository / ".git/info/attributes").exists()


def test_a_linked_work_tree_is_a_repository_as_well(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    context = Context(Deployment(repository), Shell(repository), Report())
    commit = tree.resolve(context.executor, tmp_path / "linked", None)
    with tree.exported(context, tmp_path / "linked", commit) as files:
        assert (files.root / "version.txt").read_text() == FILES["version.txt"]


def test_some_folders_alone_can_be_laid_out(repository: Path, tmp_path: Path) -> None:
    context = Context(Deployment(repository), Shell(repository), Report())
    commit = tree.resolve(context.executor, repository, None)
    target = tmp_path / "target"
    tree.lay_out(context, repository, commit, target, ["code_locations/sales", "no/such/folder"])
    assert [str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()] == [
        "code_locations/sales/tests/test_x.py"
    ]
