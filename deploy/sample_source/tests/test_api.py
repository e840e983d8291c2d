"""What the API promises: whole tables in pages, nothing without the token, errors that say what to do."""

import math
from typing import Any
from urllib.parse import quote

import pytest

COUNTS = {"airlines": 16, "airports": 1_458, "planes": 3_322, "weather": 26_115}
KEYS = {"airlines": ["carrier"], "airports": ["faa"], "planes": ["tailnum"], "weather": ["origin", "time_hour"]}


@pytest.mark.parametrize("name", COUNTS)
def test_all_pages_together_are_the_whole_table(api: Any, name: str) -> None:
    items: list[dict[str, Any]] = []
    page, pages = 1, 1
    while page <= pages:
        body = api.get(f"/{name}?page={page}&page_size=1000").body
        assert (body["page"], body["total"]) == (page, COUNTS[name])
        items += body["items"]
        page, pages = page + 1, body["pages"]
    assert len(items) == COUNTS[name]
    assert len({tuple(item[column] for column in KEYS[name]) for item in items}) == COUNTS[name]


def test_a_page_has_a_hundred_rows_unless_asked_otherwise(api: Any) -> None:
    body = api.get("/planes").body
    assert (len(body["items"]), body["page"], body["pages"]) == (100, 1, math.ceil(COUNTS["planes"] / 100))
    assert len(api.get("/planes?page=34").body["items"]) == 22


def test_values_keep_their_types_and_missing_ones_are_null(api: Any) -> None:
    assert api.get("/planes?page_size=1").body["items"] == [
        {
            "tailnum": "N10156",
            "year": 2004,
            "type": "Fixed wing multi engine",
            "manufacturer": "EMBRAER",
            "model": "EMB-145XR",
            "engines": 2,
            "seats": 55,
            "speed": None,
            "engine": "Turbo-fan",
        }
    ]
    weather = api.get("/weather?page_size=1").body["items"][0]
    assert (weather["temp"], weather["wind_gust"], weather["time_hour"]) == (39.02, None, "2013-01-01T06:00:00Z")


def test_version_says_which_data_is_served(api: Any) -> None:
    assert api.get("/version").body == {"version": "2013.1"}


@pytest.mark.parametrize(
    "path", ["/airlines", "/weather?page=2", "/version", "/", "/nothing-here", "/health/..", "/docs"]
)
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Bearer wrong", "bearer x", "Basic YTpi", "\xff"]
)
def test_no_path_answers_without_the_token(api: Any, path: str, authorization: str | None) -> None:
    answer = api.get(path, authorization)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "Authorization" in answer.body["error"]


def test_a_part_of_the_token_is_not_the_token(api: Any) -> None:
    right = "Bearer a-token-of-the-tests"
    assert api.get("/version", right).status == 200
    assert {api.get("/version", wrong).status for wrong in (right[:-1], right + "x", right.upper())} == {401}


def test_health_needs_no_token_and_shows_no_data(api: Any) -> None:
    answer = api.get("/health", None)
    assert (answer.status, answer.body) == (200, {"status": "ok"})


@pytest.mark.parametrize("value", ["0", "-1", "x", "", "1.5", "1e3", "٣", "99999999999999999999"])
def test_a_page_that_is_no_number_is_refused_with_its_name(api: Any, value: str) -> None:
    for name in ("page", "page_size"):
        answer = api.get(f"/planes?{name}={quote(value)}")
        assert answer.status == 422
        assert answer.body["error"].startswith(f"{name}=")


def test_more_than_a_thousand_rows_a_page_are_refused(api: Any) -> None:
    assert api.get("/planes?page_size=1000").status == 200
    assert "from 1 to 1000" in api.get("/planes?page_size=1001").body["error"]


def test_a_misspelt_parameter_is_refused_not_ignored(api: Any) -> None:
    answer = api.get("/planes?size=10")
    assert (answer.status, "'size'" in answer.body["error"]) == (422, True)


def test_a_page_after_the_last_is_said_to_be_absent(api: Any) -> None:
    answer = api.get("/airlines?page=2")
    assert answer.status == 404
    assert answer.body == {"error": "Page 2 of /airlines does not exist: it has 1 pages of 100 rows."}


@pytest.mark.parametrize("path", ["/flights", "/planes/1", "/../etc/passwd", "/%2e%2e/etc/passwd"])
def test_an_unknown_path_lists_the_known_ones(api: Any, path: str) -> None:
    answer = api.get(path)
    assert (answer.status, "/airlines" in answer.body["error"]) == (404, True)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(api: Any, method: str) -> None:
    assert api.get("/airlines", method=method).status == 405


def test_the_contacts_are_made_up_and_the_same_each_time(api: Any) -> None:
    body = api.get("/airline_contacts").body
    assert (body["total"], body["pages"]) == (COUNTS["airlines"], 1)
    assert body == api.get("/airline_contacts").body
    assert {item["carrier"] for item in body["items"]} == {a["carrier"] for a in api.get("/airlines").body["items"]}
    for item in body["items"]:
        # Set aside for examples: no mail and no call reaches anybody.
        assert item["email"].endswith(".example")
        assert "-555-01" in item["phone"]
