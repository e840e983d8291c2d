"""Which locations differ from production, asked of a real repository."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from operations.branches import source
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.execute import Shell
from operations.releases import content, history
from operations.report import Report
from operations.tests.fakes import EXAMPLE

TAG = "20261101T120000Z-0a1b2c3d4e5f"


def git(at: Path, *args: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    return subprocess.run(["git", "-C", at, *who, *args], check=True, capture_output=True, text=True).stdout.strip()


def commit(at: Path, file: str, text: str) -> str:
    (at / file).parent.mkdir(parents=True, exist_ok=True)
    (at / file).write_text(text)
    git(at, "add", "--all")
    git(at, "commit", "--quiet", "--message", file)
    return git(at, "rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Context:
    """Production, made by `up` from a checkout with two locations; and one that comes as an image."""
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / ".env.example").write_text(EXAMPLE)
    commit(root, "deploy/images/python-service.Dockerfile", "FROM x\n")
    for name in ("ingestion", "analytics"):
        commit(root, f"code_locations/{name}/src/{name}/definitions.py", "defs = 1\n")
    context = Context(Deployment(root), Shell(root), Report())
    context.__dict__["config"] = {"services": {name: block(name) for name in ("ingestion", "analytics", "elsewhere")}}
    return context


def block(name: str) -> dict[str, Any]:
    build = {"dockerfile": "deploy/images/python-service.Dockerfile", "args": {"SERVICE": f"code_locations/{name}"}}
    labels = {"code-location": name}
    if name == "elsewhere":
        return {"image": "registry.example.com/elsewhere@sha256:1", "labels": labels}
    return {"image": f"prod/{name}:local", "build": build, "labels": labels}


def chosen(origin: Context, wish: str = "", named: Iterable[str] = ()) -> dict[str, str]:
    return source.choose(origin, source.resolve(origin, wish), named)


def test_the_checkout_that_production_was_made_from_differs_in_nothing(origin: Context) -> None:
    assert chosen(origin) == {}


def test_a_commit_differs_where_it_changed_a_location(origin: Context) -> None:
    root = origin.deployment.root
    git(root, "switch", "--quiet", "--create", "feature")
    new = commit(root, "code_locations/analytics/src/analytics/definitions.py", "defs = 2\n")
    git(root, "switch", "--quiet", "main")
    found = source.resolve(origin, "feature")
    assert (found.commit, found.as_it_lies) == (new, False)
    assert chosen(origin, "feature") == {"analytics": "differs from this checkout"}
    assert chosen(origin, new[:10]) == {"analytics": "differs from this checkout"}


def test_what_goes_into_every_image_changes_every_location(origin: Context) -> None:
    commit(origin.deployment.root, "notes.md", "before")
    git(origin.deployment.root, "switch", "--quiet", "--create", "feature")
    commit(origin.deployment.root, "libraries/redaction/src/redaction/x.py", "x = 1\n")
    git(origin.deployment.root, "switch", "--quiet", "main")
    assert set(chosen(origin, "feature")) == {"ingestion", "analytics"}


def test_a_work_tree_counts_as_it_lies(origin: Context, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(origin.deployment.root, "clone", "--quiet", str(origin.deployment.root), str(other))
    assert chosen(origin, str(other)) == {}
    (other / "code_locations/ingestion/src/ingestion/definitions.py").write_text("defs = 3\n")
    assert chosen(origin, str(other)) == {"ingestion": "has changes that are not committed"}
    (other / "code_locations/ingestion/src/ingestion/new.py").write_text("x = 3\n")
    git(other, "checkout", "--quiet", "--", "code_locations/ingestion/src/ingestion/definitions.py")
    assert chosen(origin, str(other)) == {"ingestion": "has changes that are not committed"}


def test_a_released_location_is_compared_with_its_release(origin: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    root, spec = origin.deployment.root, origin.config["services"]["ingestion"]
    released = content.of(root, "ingestion", spec, "HEAD", origin.executor)

    def in_force(_: Deployment, name: str) -> history.Release | None:
        made = history.Release(name, TAG, "sha256:1", "0a1b2c3d4e5f", released, "2026", "ada", history.DEPLOYED)
        return made if name == "ingestion" else None

    monkeypatch.setattr(history, "in_force", in_force)
    assert chosen(origin) == {}
    # Merged, and not deployed yet.
    commit(root, "code_locations/ingestion/src/ingestion/definitions.py", "defs = 4\n")
    assert chosen(origin) == {"ingestion": f"differs from {TAG}"}


def test_what_is_named_is_built_in_any_case(origin: Context) -> None:
    assert chosen(origin, named=["analytics", "analytics"]) == {"analytics": "named"}


def test_a_location_without_a_folder_cannot_be_built(origin: Context) -> None:
    with pytest.raises(StackError, match="elsewhere comes as an image"):
        chosen(origin, named=["elsewhere"])


@pytest.mark.parametrize("wish", ["nowhere", "--all", "-x", "HEAD~99", "main:notes.md", "^main", "a b"])
def test_a_wish_that_is_no_commit_is_refused(origin: Context, wish: str) -> None:
    with pytest.raises(StackError, match="is neither a directory nor a commit"):
        source.resolve(origin, wish)


def test_the_files_of_a_commit_lie_apart_and_go_again(origin: Context) -> None:
    root = origin.deployment.root
    git(root, "switch", "--quiet", "--create", "feature")
    commit(root, "code_locations/analytics/src/analytics/definitions.py", "defs = 2\n")
    git(root, "switch", "--quiet", "main")
    branch = Context(Deployment(root, "branch-7"), origin.executor, origin.report)
    with source.files(branch, source.resolve(origin, "feature")) as files:
        assert not files.is_relative_to(root / "code_locations")
        assert (files / "code_locations/analytics/src/analytics/definitions.py").read_text() == "defs = 2\n"
        assert (files / "code_locations/ingestion").is_dir()
    assert not files.exists()
    with source.files(branch, source.resolve(origin, "")) as files:
        assert files == root
