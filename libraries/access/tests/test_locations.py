"""workspace.yaml names the code locations, and only names that are free everywhere."""

from pathlib import Path

import pytest

from access import AccessError, check_location_name, check_package_name, load_locations

ENTRY = "  - grpc_server: {host: NAME, port: 4000, location_name: NAME}\n"
A = "load_from:\n" + ENTRY.replace("NAME", "a")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "workspace.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_locations_are_read_in_their_order(tmp_path: Path) -> None:
    text = "load_from:\n" + ENTRY.replace("NAME", "ingestion") + ENTRY.replace("NAME", "analytics")
    assert list(load_locations(write(tmp_path, text)).items()) == [
        ("ingestion", "ingestion"),
        ("analytics", "analytics"),
    ]


@pytest.mark.parametrize("name", ["a", "ingestion", "eta2", "team_a", "a" * 31])
def test_a_plain_name_is_legal(name: str) -> None:
    assert check_location_name(name) == name


MALFORMED = ["", "A", "1a", "_a", "a-b", "a.b", "a b", "a\n", "a/../b", "é", "a" * 32]
SERVICES = ["postgres", "migrate", "run_broker", "webserver", "daemon", "gateway", "edge", "default"]
ROLES = ["dagster", "dagster_owner", "public", "pg_a", "pg_catalog"]
MODULES = ["class", "import", "system", "temp", "memory", "polars"]


@pytest.mark.parametrize("name", MALFORMED + SERVICES + ROLES + MODULES)
def test_a_name_that_is_taken_or_malformed_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        check_location_name(name)


@pytest.mark.parametrize("name", ["platform", "json", "types", "polars", "a-b"])
def test_a_package_that_would_hide_a_module_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        check_package_name(name)


def test_a_location_may_be_called_as_a_module_of_python() -> None:
    assert check_location_name("platform") == "platform"


WRONG = {
    "empty": ("", "is empty"),
    "no locations": ("load_from: []", "found a list; expected a list of at least one"),
    "nothing": ("load_from:", "found nothing; expected a list of at least one"),
    "other key": ("load_form: []", "workspace.yaml:1: load_form: unknown key; legal here: load_from"),
    "another kind": ("load_from:\n  - python_module: a", "workspace.yaml:2: .*expected grpc_server"),
    "host elsewhere": (
        A.replace("host: a", "host: evil"),
        "found 'evil'; expected 'a'",
    ),
    "another port": (
        A.replace("4000", "4001"),
        "found 4001 .*; expected 4000",
    ),
    "port as text": (
        A.replace("4000", "'4000'"),
        "found '4000'; expected 4000",
    ),
    "name missing": ("load_from:\n  - grpc_server: {host: a, port: 4000}", "location_name is missing"),
    "a socket": (
        "load_from:\n  - grpc_server: {host: a, socket: /x}",
        "socket: unknown key; legal here: host, port, location_name",
    ),
    "reserved": ("load_from:\n" + ENTRY.replace("NAME", "postgres"), "workspace.yaml:2: .*taken by a Compose service"),
    "name not text": ("load_from:\n" + ENTRY.replace("NAME", "1"), "is no name for a code location"),
    "twice": (A + ENTRY.replace("NAME", "a"), "workspace.yaml:3: .*'a' is given twice"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_workspace_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AccessError, match=message):
        load_locations(write(tmp_path, text))
