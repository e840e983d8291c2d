"""access.yaml grants exactly what it says, and says where it is wrong."""

from pathlib import Path

import pytest

from access import Access, AccessError, Permissions, Role, load, load_locations, loads

LOCATIONS = ["ingestion", "analytics"]
FILE = """\
people:
  admin: {users: [admin], groups: [platform]}
  editor:
    ingestion: {users: [ines], groups: [data-engineers]}
    analytics: {users: [], groups: [analysts]}
  viewer: {users: [vera], groups: [everyone]}
  unknown_users: none
machines:
  analytics: {reads: [ingestion]}
"""


@pytest.fixture
def access() -> Access:
    return loads(FILE, LOCATIONS)


def test_the_file_in_the_repository_is_legal() -> None:
    root = Path(__file__).parents[3]
    access = load(root / "access.yaml", load_locations(root / "workspace.yaml"))
    assert access.permissions("admin").is_admin
    assert set(access.machines) == set(load_locations(root / "workspace.yaml"))


def test_a_named_user_and_a_member_of_a_named_group_are_admins(access: Access) -> None:
    assert access.permissions("admin").role is Role.ADMIN
    assert access.permissions("paula", ["platform"]).role is Role.ADMIN
    assert access.permissions("admin").editable == {"ingestion", "analytics"}


def test_an_editor_edits_the_own_location_and_views_the_others(access: Access) -> None:
    ines = access.permissions("ines", ["everyone"])
    assert ines == Permissions(Role.EDITOR, frozenset({"ingestion"}))
    assert ines.may_view
    assert [name for name in LOCATIONS if ines.may_edit(name)] == ["ingestion"]


def test_an_editor_of_two_locations_edits_both(access: Access) -> None:
    assert access.permissions("x", ["analysts", "data-engineers"]).editable == {"ingestion", "analytics"}


def test_a_viewer_views_and_edits_nothing(access: Access) -> None:
    vera = access.permissions("vera")
    assert vera.may_view
    assert not vera.is_admin
    assert not [name for name in LOCATIONS if vera.may_edit(name)]


@pytest.mark.parametrize("user", ["stranger", "ADMIN", "admin ", "platform", ""])
def test_whoever_is_not_named_has_no_access(access: Access, user: str) -> None:
    assert access.permissions(user, ["unknown", "Platform"]).role is Role.NONE


def test_unknown_users_view_when_the_file_says_so_but_the_nameless_do_not() -> None:
    access = loads(FILE.replace("unknown_users: none", "unknown_users: viewer"), LOCATIONS)
    assert access.permissions("stranger").role is Role.VIEWER
    assert access.permissions("").role is Role.NONE


def test_a_group_is_not_taken_for_a_user_of_that_name(access: Access) -> None:
    assert access.permissions("platform").role is Role.NONE
    assert access.permissions("stranger", ["admin"]).role is Role.NONE


def test_every_code_location_has_an_entry_among_the_machines(access: Access) -> None:
    assert access.machines["ingestion"].reads == []
    assert access.machines["analytics"].reads == ["ingestion"]


def test_nobody_has_a_role_when_the_file_names_nobody() -> None:
    access = loads("people: {}", LOCATIONS)
    assert access.permissions("admin", ["platform"]).role is Role.NONE


WRONG = {
    "unknown role": (
        "  viewer: {users",
        "  reader: {users",
        6,
        "unknown key 'reader'; legal here: admin, editor, viewer, unknown_users",
    ),
    "unknown key of members": ("admin: {users", "admin: {people", 2, "unknown key 'people'; legal here: users, groups"),
    "unknown top-level key": ("machines:", "robots:", 8, "unknown key 'robots'; legal here: people, machines"),
    "editor of an unknown location": (
        "    analytics:",
        "    sales:",
        5,
        "unknown code location 'sales'; legal are the code locations of workspace.yaml: i",
    ),
    "machine of an unknown location": ("  analytics: {reads", "  sales: {reads", 9, "unknown code location 'sales'"),
    "reads an unknown lake": ("reads: [ingestion]", "reads: [sales]", 9, "unknown code location 'sales'"),
    "reads the own lake": ("reads: [ingestion]", "reads: [analytics]", 9, "'analytics' always reads its own lake"),
    "reads a lake twice": ("reads: [ingestion]", "reads: [ingestion, ingestion]", 9, "'ingestion' is named twice"),
    "maintains who maintains": (
        "  analytics: {reads: [ingestion]}",
        "  ingestion: {maintains: [analytics]}\n  analytics: {maintains: [ingestion]}",
        9,
        "'analytics' maintains others itself; nobody may maintain it",
    ),
    "personal data of a lake it does not read": (
        "reads: [ingestion]",
        "reads: [], personal: [ingestion]",
        9,
        "'analytics' does not read 'ingestion'",
    ),
    "personal data of nobody": (
        "reads: [ingestion]",
        "reads: [ingestion], personal: [sales]",
        9,
        "unknown code location",
    ),
    "unknown machine key": ("{reads:", "{writes:", 9, "unknown key 'writes'; legal here: reads"),
    "duplicate location": ("    analytics:", "    ingestion:", 5, "key 'ingestion' is given twice; first in line 4"),
    "duplicate role": ("  viewer: {users", "  admin: {users", 6, "key 'admin' is given twice; first in line 2"),
    "unknown_users of another kind": (
        "unknown_users: none",
        "unknown_users: editor",
        7,
        "found 'editor'; legal: none, viewer",
    ),
    "unknown_users empty": ("unknown_users: none", "unknown_users:", 7, "found nothing; legal: none, viewer"),
    "users not a list": ("users: [vera]", "users: vera", 6, "found 'vera'; expected a list"),
    "users empty": ("users: [vera]", "users: ", 6, "found nothing; expected a list"),
    "a number as a user": ("[vera]", "[1234]", 6, "found 1234 (int); expected a name; put quotes around"),
    "a truth value as a user": ("[vera]", "[yes]", 6, "found True (bool); expected a name"),
    "a comma in a group": ("[everyone]", "['everyone,platform']", 6, "without comma"),
    "a line break in a user": ("[vera]", '["vera\\nx"]', 6, "printable"),
    "an empty user": ("[vera]", "['']", 6, "expected a name of 1 to 128"),
    "role without members": ("{users: [vera], groups: [everyone]}", "vera", 6, "found 'vera'; expected a map"),
    "broken YAML": ("{users: [vera]", "{users: [vera", 6, "is not valid YAML"),
    "a tag that runs code": ("[vera]", "!!python/object/apply:os.system [id]", 6, "is not valid YAML"),
    "people missing": ("people:", "persons:", 1, "missing"),
}


@pytest.mark.parametrize(("old", "new", "line", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_refused_with_the_line_and_what_is_legal(old: str, new: str, line: int, message: str) -> None:
    with pytest.raises(AccessError) as caught:
        loads(FILE.replace(old, new, 1), LOCATIONS)
    assert message in str(caught.value)
    assert caught.value.line == line
    assert str(caught.value).startswith("access.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("[people]", "expected top-level keys, found a list"),
        ("people", "expected top-level keys, found 'people'"),
        ("a: 1\n---\nb: 2\n", "is not valid YAML"),
        ("people: &a {admin: *a}", "an alias refers to"),
        ("people:\n  <<: {}\n", "not legal as keys"),
        ("people: {[a]: b}", "not legal as keys"),
    ],
)
def test_a_file_that_is_not_a_map_is_refused(text: str, message: str) -> None:
    with pytest.raises(AccessError, match=message.replace("[", r"\[")):
        loads(text, LOCATIONS)


def test_an_absent_file_and_one_that_is_not_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="cannot be read: No such file"):
        load(tmp_path / "access.yaml", LOCATIONS)
    (tmp_path / "access.yaml").write_bytes(b"people: \xff")
    with pytest.raises(AccessError, match="is not UTF-8"):
        load(tmp_path / "access.yaml", LOCATIONS)
