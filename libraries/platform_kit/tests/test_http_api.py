import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from platform_kit.http_api import HttpApiError, HttpApiResource

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]
ITEMS = [{"faa": f"A{number}"} for number in range(5)]


class Api:
    """A server on this machine that answers as it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.answer: Callable[[str], Answer] = lambda path: (200, {"version": "1"})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    state = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers["Authorization"]))
            status, body, *headers = state.answer(self.path)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in (headers[0] if headers else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # a client that waits no longer
                self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("SOURCE_API_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("SOURCE_API_TOKEN", "hunter2")
    yield state
    server.shutdown()
    server.server_close()


def resource(**settings: Any) -> HttpApiResource:
    return HttpApiResource(prefix="SOURCE_API", first_pause_seconds=0.01, **settings)


def paged(size: int) -> Callable[[str], Answer]:
    def answer(path: str) -> Answer:
        page = int(path.split("page=")[1].split("&")[0])
        pages = -(-len(ITEMS) // size)
        return 200, {"items": ITEMS[(page - 1) * size : page * size], "page": page, "pages": pages, "total": len(ITEMS)}

    return answer


def test_all_pages_are_read_in_order_with_the_token(api: Api) -> None:
    api.answer = paged(2)
    assert resource(page_size=2).items("/airports") == ITEMS
    assert api.asked == [(f"/airports?page={page}&page_size=2", "Bearer hunter2") for page in (1, 2, 3)]


def test_a_table_without_rows_has_one_empty_page_or_none(api: Api) -> None:
    for pages in (0, 1):
        api.answer = lambda path, pages=pages: (200, {"items": [], "page": 1, "pages": pages, "total": 0})  # type: ignore[misc]
        assert resource().items("/airports") == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(api: Api, status: int) -> None:
    api.answer = lambda path: (status, {"error": "busy"}) if len(api.asked) < 3 else (200, {"version": "2"})
    assert resource().get("/version") == {"version": "2"}
    assert len(api.asked) == 3


def test_the_api_says_how_long_to_wait(api: Api) -> None:
    api.answer = lambda path: (429, {}, {"Retry-After": "0"}) if len(api.asked) < 2 else (200, {})
    slow = HttpApiResource(prefix="SOURCE_API", first_pause_seconds=3600)
    assert slow.get("/version") == {}


def test_what_never_passes_is_given_up_and_told(api: Api) -> None:
    api.answer = lambda path: (503, {"error": "maintenance until noon"})
    with pytest.raises(HttpApiError, match=r"after 3 attempts, the last one was: 503 .*maintenance until noon"):
        resource(attempts=3).get("/version")
    assert len(api.asked) == 3


def test_an_api_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SOURCE_API_TOKEN", "hunter2")
    with pytest.raises(HttpApiError, match=r"127\.0\.0\.1:1 GET /version: no answer after 2 attempts.*ConnectError"):
        resource(attempts=2).get("/version")


def test_an_answer_that_never_comes_is_not_waited_for(api: Api) -> None:
    release = threading.Event()
    api.answer = lambda path: (200, {"late": release.wait(20)})
    with pytest.raises(HttpApiError, match="ReadTimeout"):
        resource(timeout_seconds=0.1, attempts=1).get("/version")
    release.set()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {"error": "no"}), "401 .*the API refuses the token in SOURCE_API_TOKEN"),
        ((404, {"error": "There is no /x"}), "expected 200, got 404 .*There is no /x"),
        ((200, b"<html>"), "expected JSON, got 200 OK: <html>"),
        ((200, [1]), "expected a JSON object"),
        ((302, {}, {"Location": "http://127.0.0.1:1/stolen"}), "expected 200, got 302"),
    ],
)
def test_a_wrong_answer_fails_at_once_and_is_shown(api: Api, answer: Answer, message: str) -> None:
    api.answer = lambda path: answer
    with pytest.raises(HttpApiError, match=message):
        resource().get("/version")
    assert len(api.asked) == 1


def test_the_token_is_in_no_error(api: Api) -> None:
    api.answer = lambda path: (403, {"error": "Bearer hunter2 is not known"})
    with pytest.raises(HttpApiError) as caught:
        resource().get("/version")
    assert "hunter2" not in str(caught.value)
    assert "Bearer *** is not known" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        {"data": []},
        {"items": {}, "page": 1, "pages": 1, "total": 0},
        {"items": [], "page": 2, "pages": 2, "total": 0},
        {"items": [], "page": 1, "pages": "1", "total": 0},
        {"items": [], "page": 1, "pages": 1},
    ],
)
def test_a_page_that_is_none_is_refused(api: Api, body: dict[str, Any]) -> None:
    api.answer = lambda path: (200, body)
    with pytest.raises(HttpApiError, match="/airports, page 1: expected items, page, pages and total, got"):
        resource().items("/airports")


def test_rows_that_came_or_went_meanwhile_are_noticed(api: Api) -> None:
    api.answer = lambda path: (200, {"items": ITEMS, "page": 1, "pages": 1, "total": 6})
    with pytest.raises(HttpApiError, match="/airports said it has 6 items, but its 1 pages had 5: run this again"):
        resource().items("/airports")


def test_no_token_is_in_what_dagster_shows_of_a_resource(api: Api) -> None:
    assert "hunter2" not in f"{resource()!r} {resource().model_dump()}"
