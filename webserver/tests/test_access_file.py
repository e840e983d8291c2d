"""access.yaml counts as it is now, unless what is there now is wrong."""

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Server


def roles(server: "Server") -> dict[str, int]:
    """The status with which each person is answered."""
    return {user: server.request(user, "GET", "/").status_code for user in ("admin", "vera", "new")}


def test_a_change_counts_with_the_next_request(server: "Server") -> None:
    assert roles(server) == {"admin": 200, "vera": 200, "new": 403}
    server.access_file.write_text(server.access_text.replace("[vera]", "[new]"), encoding="utf-8")
    assert roles(server) == {"admin": 200, "vera": 403, "new": 200}
    server.access_file.write_text(server.access_text + "  unknown_users: viewer\n", encoding="utf-8")
    assert server.request("stranger", "GET", "/").status_code == 200


@pytest.mark.parametrize(
    "text", ["", "people: [", "people: {}\nother: {}", "people:\n  editor: {nowhere: {users: [new]}}\n"]
)
def test_a_broken_version_keeps_the_last_good_one_and_is_reported_once(
    server: "Server", caplog: pytest.LogCaptureFixture, text: str
) -> None:
    with caplog.at_level(logging.ERROR, logger="webserver"):
        server.access_file.write_text(text, encoding="utf-8")
        assert roles(server) == {"admin": 200, "vera": 200, "new": 403}
        assert roles(server) == {"admin": 200, "vera": 200, "new": 403}
    reports = [record for record in caplog.records if "previous one stays in force" in record.getMessage()]
    assert len(reports) == 1
    assert "access.yaml" in reports[0].getMessage()


def test_a_file_that_is_gone_keeps_the_last_good_one(server: "Server") -> None:
    aside = server.access_file.rename(server.access_file.with_suffix(".aside"))
    try:
        assert roles(server) == {"admin": 200, "vera": 200, "new": 403}
    finally:
        aside.rename(server.access_file)


def test_a_file_that_was_replaced_counts(server: "Server") -> None:
    other = server.access_file.with_suffix(".new")
    other.write_text(server.access_text.replace("[vera]", "[new]"), encoding="utf-8")
    other.rename(server.access_file)
    assert roles(server) == {"admin": 200, "vera": 403, "new": 200}
