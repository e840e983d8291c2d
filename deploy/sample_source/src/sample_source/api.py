"""The sample's HTTP API: four tables and some made-up people in pages, behind a bearer token."""

import hmac
import math
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sample_source import contacts, settings
from sample_source.tables import AIRLINES, AIRPORTS, PLANES, WEATHER, Value, rows

VERSION = "2013.1"
PAGE_SIZE, PAGE_SIZE_MAX = 100, 1000
SERVED = {table.name: table for table in (AIRLINES, AIRPORTS, PLANES, WEATHER)}

Next = Callable[[Request], Awaitable[Response]]
Rows = list[dict[str, Value]]


def create_app(directory: Path, token: str) -> Starlette:
    """The API over the CSV files of a directory; every path but /health wants the token."""
    data: dict[str, Rows] = {name: list(rows(directory, table)) for name, table in SERVED.items()}
    data[contacts.NAME] = [*contacts.contacts_of(data["airlines"])]
    expected = f"Bearer {token}".encode()

    async def require_token(request: Request, call_next: Next) -> Response:
        # Before routing, so that a caller without a token cannot tell which paths exist.
        given = request.headers.get("authorization", "").encode("latin-1")
        if request.url.path == "/health" or hmac.compare_digest(given, expected):
            return await call_next(request)
        message = "Send the header 'Authorization: Bearer <token>' with this deployment's sample_source_api_token."
        return JSONResponse({"error": message}, 401, {"WWW-Authenticate": "Bearer"})

    return Starlette(
        routes=[
            Route("/health", _health),
            Route("/version", _version),
            *(Route(f"/{name}", _pages_of(name, data[name])) for name in data),
        ],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=require_token)],
        exception_handlers={HTTPException: _explain},
    )


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _version(_request: Request) -> Response:
    return JSONResponse({"version": VERSION})


def _pages_of(name: str, data: Rows) -> Callable[[Request], Awaitable[Response]]:
    async def page_of(request: Request) -> Response:
        unknown = sorted(set(request.query_params) - {"page", "page_size"})
        if unknown:
            raise HTTPException(422, f"Unknown parameter {unknown[0]!r}; /{name} knows page and page_size.")
        size = _whole_number(request, "page_size", PAGE_SIZE, PAGE_SIZE_MAX)
        page = _whole_number(request, "page", 1, None)
        pages = math.ceil(len(data) / size)
        if page > pages:
            raise HTTPException(404, f"Page {page} of /{name} does not exist: it has {pages} pages of {size} rows.")
        items = data[(page - 1) * size : page * size]
        return JSONResponse({"items": items, "page": page, "pages": pages, "total": len(data)})

    return page_of


def _whole_number(request: Request, name: str, default: int, largest: int | None) -> int:
    text = request.query_params.get(name, str(default))
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if number < 1 or (largest is not None and number > largest):
        legal = f"from 1 to {largest}" if largest else "from 1"
        raise HTTPException(422, f"{name}={text!r} is not a whole number {legal}.")
    return number


async def _explain(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    message = error.detail
    if error.status_code == 404 and message == "Not Found":
        known = ", ".join(f"/{name}" for name in ("health", "version", *SERVED, contacts.NAME))
        message = f"There is no {request.url.path}; there are {known}."
    return JSONResponse({"error": message}, error.status_code, error.headers)


def main() -> None:
    """Serve on port 8000."""
    app = create_app(settings.data_directory(), settings.secret("sample_source_api_token"))
    # All addresses, because the container's own is not known before it starts; nothing publishes the port.
    uvicorn.run(app, host="0.0.0.0", port=8000, limit_concurrency=64, server_header=False)  # noqa: S104


if __name__ == "__main__":
    main()
