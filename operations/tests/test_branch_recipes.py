"""Attacks of a change on how images are built: production's recipe is used, and its caches and passwords are not."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from operations.branches import images, recipes, source
from operations.branches.recipes import Recipe
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.execute import Shell
from operations.report import Report
from operations.tests.fakes import EXAMPLE, Machine
from operations.tests.test_branch_source import commit, git

DOCKERFILE = "deploy/images/python-service.Dockerfile"
SHIPPED = Path(__file__).resolve().parents[2] / DOCKERFILE
OWN = "code_locations/sales/Dockerfile"
LOCK = "code_locations/sales/requirements.lock"
CODE = "code_locations/sales/src/sales/definitions.py"
PASSWORD = "library_index_password"
FILES = {
    ".env.example": EXAMPLE,
    ".dockerignore": "*\n!deploy\n",
    DOCKERFILE: SHIPPED.read_text(),
    "deploy/images/entrypoint": "ours",
    "deploy/images/uv.lock": "ours",
    "libraries/redaction/src/redaction/x.py": "ours",
    "libraries/index/a-1-py3-none-any.whl": "ours",
    OWN: "FROM x AS base\nRUN --mount=type=cache,id=pip,target=/cache true\nFROM base AS location\n",
    LOCK: "a==1\n",
    CODE: "defs = 1\n",
}


def block(dockerfile: str = DOCKERFILE, **more: Any) -> dict[str, Any]:
    arguments = {"SERVICE": "code_locations/sales", "NAME": "sales", **more.pop("args", {})}
    build = {"dockerfile": dockerfile, "target": "location", "args": arguments, **more}
    return {"image": "prod/sales:local", "build": build, "labels": {"code-location": "sales"}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Production's checkout, and on the branch `feature` whatever a test puts there."""
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch=main")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "ours")
    git(root, "switch", "--quiet", "--create", "feature")
    commit(root, CODE, "defs = 'theirs'\n")
    return root


@contextmanager
def recipe_of(root: Path, spec: Mapping[str, Any]) -> Iterator[Recipe]:
    """As `branch create --from feature` finds it."""
    git(root, "switch", "--quiet", "main")
    origin = Context(Deployment(root), Shell(root), Report())
    branch = Context(Deployment(root, "branch-7"), origin.executor, origin.report)
    with recipes.of(origin, branch, source.resolve(origin, "feature"), {"sales": spec}) as found:
        yield found["sales"]
    assert not (branch.deployment.state / "recipes").exists()


@pytest.mark.parametrize(
    "file", [DOCKERFILE, "deploy/images/entrypoint", "deploy/images/uv.lock", "libraries/redaction/src/redaction/x.py",
             ".dockerignore", "libraries/index/a-1-py3-none-any.whl"],
)  # fmt: skip
def test_what_says_how_images_are_built_is_ours(root: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    commit(root, file, "theirs")
    with recipe_of(root, block()) as recipe:
        text = (recipe.root / file).read_text()
        assert "theirs" not in text
        assert text == FILES[file] or file == DOCKERFILE
        assert (recipe.root / CODE).read_text() == "defs = 'theirs'\n"
    # The index is content of a lock that names it, which this one does not.
    told = "changes how images are built" in capsys.readouterr().err
    assert told == ("index" not in file)


def test_with_productions_lock_packages_are_productions_and_no_later_step_is(root: Path) -> None:
    with recipe_of(root, block()) as recipe:
        text = (recipe.root / recipe.dockerfile).read_text()
        assert recipe.ours
        assert text.count("TRUST_DOMAIN") == 1
        shipped, _, changed = text.partition("FROM environment AS location\nARG TRUST_DOMAIN=branch\n")
        assert shipped + "FROM environment AS location\n" + changed == FILES[DOCKERFILE]


def test_another_lock_has_neither_productions_cache_nor_its_index(root: Path) -> None:
    commit(root, LOCK, "a==2\n")
    commit(root, "libraries/index/a-2-py3-none-any.whl", "theirs")
    with recipe_of(root, block()) as recipe:
        text = (recipe.root / recipe.dockerfile).read_text()
        assert not recipe.ours
        mounts = [mount for mount in re.findall(r"--mount=(\S+)", text) if "cache" in mount.split(",")[0]]
        assert mounts == ["type=cache,target=/root/.cache/uv,id=branch-/root/.cache/uv"] * 2
        assert sorted(path.name for path in (recipe.root / "libraries/index").iterdir()) == [
            "a-1-py3-none-any.whl",
            "a-2-py3-none-any.whl",
        ]


def test_a_dockerfile_of_the_change_is_refused(root: Path) -> None:
    commit(root, OWN, "FROM x\nRUN --mount=type=cache,id=uv,target=/root/.cache/uv poison\n")
    with pytest.raises(StackError, match=f"brings another {OWN}"), recipe_of(root, block(OWN)):
        pass


def test_a_dockerfile_that_production_has_builds_the_change_apart(root: Path) -> None:
    with recipe_of(root, block(OWN)) as recipe:
        text = (recipe.root / OWN).read_text()
        assert not recipe.ours
        assert "--mount=type=cache,target=/cache,id=branch-pip true" in text
        assert text.count("ARG TRUST_DOMAIN=branch") == 2


def test_a_link_on_the_way_to_a_dockerfile_does_not_lead_to_productions(root: Path) -> None:
    dockerfile = "code_locations/sales/docker/Dockerfile"
    git(root, "switch", "--quiet", "main")
    commit(root, dockerfile, "FROM x\n")
    git(root, "switch", "--quiet", "feature")
    # Whoever knows where production's checkout is.
    (root / "code_locations/sales/docker").symlink_to(root / "code_locations/sales/docker")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "link")
    with pytest.raises(StackError, match=f"brings another {dockerfile}"), recipe_of(root, block(dockerfile)):
        pass
    assert (root / dockerfile).read_text() == "FROM x\n"


@pytest.mark.parametrize("dockerfile", ["/etc/passwd", "code_locations/sales/Other.Dockerfile"])
def test_a_dockerfile_that_nobody_reviewed_is_refused(root: Path, dockerfile: str) -> None:
    commit(root, "code_locations/sales/Other.Dockerfile", "FROM x\n")
    with pytest.raises(StackError, match="which this checkout's commit has not"), recipe_of(root, block(dockerfile)):
        pass


@pytest.mark.parametrize(
    "mount", ["type=cache,\\\n target=/x", "target=/x,type=Cache", '"type=cache",target=/x', "type='cache',target=/x"]
)
def test_a_cache_that_cannot_be_told_from_productions_is_refused(mount: str) -> None:
    with pytest.raises(StackError, match="cannot be told from production's"):
        recipes.apart(f"FROM x\nRUN --mount={mount} true\n", caches=True)


@pytest.mark.parametrize("link", ["code_locations/sales", "libraries/index"])
def test_a_link_in_the_place_of_a_folder_is_not_followed(root: Path, link: str) -> None:
    commit(root, LOCK, "a==2\n")
    kept = root.parent / "kept"
    shutil.move(root / link, kept)
    (root / link).symlink_to(kept)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "link")
    with pytest.raises(StackError, match=f"the change has no folder {link}"), recipe_of(root, block()):
        pass


def described(machine: Machine, spec: dict[str, Any], *, ours: bool, shared: tuple[str, ...] = ()) -> dict[str, Any]:
    """The Compose file that builds it."""
    origin, branch = machine.context(), machine.context("branch-7")
    secrets = {PASSWORD: {"file": "/secrets/x"}, "other": {"file": "/secrets/y"}}
    for context in (origin, branch):
        context.__dict__["config"] = {"services": {"sales": spec}, "secrets": secrets}
    made: dict[str, Any] = json.loads(
        images.description(origin, branch, {"sales": Recipe(machine.root, DOCKERFILE, ours)}, shared)
    )
    return made


PRIVATE = {"LIBRARY_INDEX": "https://packages.internal/", "LIBRARY_INDEX_USER": "builder"}


def private() -> dict[str, Any]:
    return block(args=PRIVATE, secrets=[{"source": PASSWORD}])


def test_the_password_of_the_private_index_is_not_for_another_lock(machine: Machine) -> None:
    made = described(machine, private(), ours=False)
    assert made["secrets"] == {}
    assert made["services"]["sales"]["build"]["secrets"] == []
    assert "packages.internal" not in json.dumps(made)


@pytest.mark.parametrize(("ours", "shared"), [(True, ()), (False, (PASSWORD,))])
def test_the_password_is_given_for_productions_lock_or_when_production_says_so(
    machine: Machine, ours: bool, shared: tuple[str, ...]
) -> None:
    made = described(machine, private(), ours=ours, shared=shared)
    assert set(made["secrets"]) == {PASSWORD}
    assert made["services"]["sales"]["build"]["args"]["LIBRARY_INDEX"] == PRIVATE["LIBRARY_INDEX"]


def test_a_password_in_an_address_is_refused(machine: Machine) -> None:
    with pytest.raises(StackError, match="PACKAGE_INDEX holds a password"):
        described(machine, block(args={"PACKAGE_INDEX": "https://me:secret@packages.internal/"}), ours=True)


@pytest.mark.parametrize(("code", "told"), [(124, "not finished after 30 minutes"), (1, "the build failed")])
def test_a_build_that_fails_or_lasts_is_ended_with_its_likely_reason(machine: Machine, code: int, told: str) -> None:
    described(machine, private(), ours=False)
    origin, branch = machine.context(), machine.context("branch-7")
    for context in (origin, branch):
        context.__dict__["config"] = {"services": {"sales": private()}, "secrets": {PASSWORD: {"file": "/secrets/x"}}}
    branch.deployment.home.mkdir(parents=True)
    machine.executor.answer("build", code=code, stdout="no version of a==2")
    with pytest.raises(StackError, match=told) as error:
        images.build(origin, branch, {"sales": Recipe(machine.root, DOCKERFILE, ours=False)}, ())
    (call,) = machine.executor.ran("--progress", "plain", "build")
    assert call[:4] == ["timeout", "--foreground", "--kill-after=30", "1800"]
    assert (f"BRANCH_SECRETS={PASSWORD}" in error.value.do) == (code == 1)
