"""CODEOWNERS and the locations: who reviews what says the same as who edits what."""

from pathlib import Path

import pytest

from access import loads
from operations.locations import owners

TEXT = """\
# Who reviews what.
*  @acme/platform

/code_locations/sales/ @acme/sellers  # since May
/code_locations/lab/ @acme/science/people @dana
"""
ACCESS = """\
people:
  admin: {users: [admin], groups: [platform]}
  editor:
    sales: {users: [], groups: [sellers]}
    lab: {users: [], groups: [people, others]}
    solo: {users: [dana], groups: []}
"""
NAMES = ["sales", "lab", "solo", "keeper"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".github").mkdir()
    for name in ("sales", "lab"):
        (tmp_path / "code_locations" / name).mkdir(parents=True)
    return tmp_path


def said(root: Path, text: str) -> list[str]:
    (root / ".github/CODEOWNERS").write_text(text)
    return [str(problem) for problem in owners.check(root, NAMES, loads(ACCESS, NAMES))]


def test_a_file_in_step_has_no_problem(root: Path) -> None:
    assert said(root, TEXT) == []


def test_who_has_no_such_file_has_no_problem(root: Path) -> None:
    assert owners.check(root, NAMES, loads(ACCESS, NAMES)) == []


@pytest.mark.parametrize(
    ("found", "instead", "problem"),
    [
        ("/code_locations/sales/ @acme/sellers  # since May\n", "", "CODEOWNERS: sales has no line; expected: /code"),
        ("@acme/sellers", "@acme/thieves", "CODEOWNERS:4: sales is owned by thieves; its editors in access"),
        ("@acme/sellers", "", "CODEOWNERS:4: /code_locations/sales/ has no owner"),
        ("*  @acme/platform\n", "", "CODEOWNERS:3: its first line is to be `* OWNER`"),
        ("/code_locations/lab/", "* @x/y\n/code_locations/lab/", "CODEOWNERS:5: `*` below other lines takes"),
        ("# Who reviews what.", "/code_locations/gone/ @acme/x", "CODEOWNERS:1: there is no location gone"),
    ],
)  # fmt: skip
def test_what_is_out_of_step_is_told_with_its_line(root: Path, found: str, instead: str, problem: str) -> None:
    assert any(problem in line for line in said(root, TEXT.replace(found, instead)))


def test_an_empty_file_owns_nothing(root: Path) -> None:
    assert said(root, "") != []


def test_locations_that_only_single_people_or_nobody_edits(root: Path) -> None:
    for name in ("solo", "keeper"):
        (root / "code_locations" / name).mkdir()
    text = TEXT + "/code_locations/solo/ @dana\n/code_locations/keeper/ @acme/"
    assert said(root, text + "platform\n") == []
    # What nobody else edits is the admins'.
    assert "its editors in access.yaml are platform" in said(root, text + "sellers\n")[0]


def test_a_new_line_comes_behind_the_other_locations_with_their_organisation() -> None:
    assert owners.added(TEXT, "new", "team").splitlines()[-1] == "/code_locations/new/ @acme/science/team"
    assert owners.added("* @acme/platform\n/docs/ @acme/w\n", "new", "team") == (
        "* @acme/platform\n/code_locations/new/ @acme/team\n/docs/ @acme/w\n"
    )
    assert owners.added("* @someone\n", "new", "team") == "* @someone\n/code_locations/new/ @team\n"
    assert owners.added("", "new", "team") == "/code_locations/new/ @team\n"


def test_adding_twice_and_removing_leave_what_was_there() -> None:
    once = owners.added(TEXT, "new", "team")
    assert owners.added(once, "new", "team") == once
    assert owners.without(once, "new") == TEXT
    assert owners.without(TEXT, "sale") == TEXT


def test_gitlabs_sections_are_no_patterns() -> None:
    assert [rule.pattern for rule in owners.rules("[Data][2] @acme/x\n* @acme/platform\n")] == ["*"]


def test_the_shipped_file_is_in_step() -> None:
    from access import load, load_locations

    shipped = Path(__file__).resolve().parents[2]
    names = list(load_locations(shipped / "workspace.yaml"))
    assert owners.check(shipped, names, load(shipped / "access.yaml", names)) == []
