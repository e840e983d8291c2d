"""The first thing a request meets: where it comes from, who sent it, and whether its kind is served at all."""

import html
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from webserver.identity import SCOPE_KEY, TOKEN, AccessFile, Identity, NotIdentifiedError, identify
from webserver.refusals import RefusedError, log_key

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
REPORTS = ("/report_asset_materialization/", "/report_asset_check/", "/report_asset_observation/")
logger = logging.getLogger("webserver")


class Gate:
    """ASGI middleware. Only /server_info, which says the versions, is open: health checks use it."""

    def __init__(self, app: App, access: AccessFile, token: str) -> None:
        self._app = app
        self._access = access
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, or refuse."""
        if scope["type"] == "lifespan" or (_is_read(scope) and scope["path"] == "/server_info"):
            await self._app(scope, receive, send)
            return
        refused = self._refusal(scope)
        if refused:
            status, message = refused
            logger.warning("refused %s %s: %d %s", scope.get("method", "WEBSOCKET"), scope["path"], status, message)
            await _refuse(scope, send, status, message)
        elif scope["type"] == "websocket":
            watched = _Watched(send, self._access, scope[SCOPE_KEY])
            await self._app(scope, watched.receiving(receive), watched.send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        try:
            identity = identify(scope["headers"], self._token)
        except NotIdentifiedError as error:
            return 403, str(error)
        # The secret has done its work: nothing behind the gate can give it away.
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name.lower() != TOKEN]
        scope[SCOPE_KEY] = identity
        if not self._access.permissions(identity).may_view:
            return (
                403,
                f"{identity.user} has signed in but has no role in access.yaml. Ask an admin of this deployment.",
            )
        if _is_foreign(scope):
            return 403, "This request was sent by a page of another site."
        return _kind_refusal(scope)


def _kind_refusal(scope: Scope) -> tuple[int, str] | None:
    path = scope["path"]
    if scope["type"] == "websocket":
        return None if path == "/graphql" else (404, "WebSockets are served at /graphql only.")
    reports = path.startswith(REPORTS)
    if scope["method"] == "POST" and (path == "/graphql" or reports):
        # Forms and plain text can be sent by any page without asking; JSON cannot.
        kind = _header(scope, b"content-type")
        if kind.partition(";")[0].strip().lower() != "application/json" and not (reports and not kind):
            return 415, f"Content-Type is {kind or 'missing'}; expected application/json."
        return None
    if not _is_read(scope) or reports:
        return 405, f"{scope['method']} is not served at {path}."
    if path.startswith("/logs/"):
        try:
            log_key(path.removeprefix("/logs/").split("/"))
        except RefusedError as error:
            return 400, str(error)
    return None


def _is_read(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] in ("GET", "HEAD")


def _is_foreign(scope: Scope) -> bool:
    """Whether a browser sent this for a page of another site.

    Browsers add the password to whatever any page sends here, so for all that can change something, and for
    WebSockets, which no same-origin rule covers, the page has to be one of ours.
    """
    if _is_read(scope) and scope["path"] != "/graphql":
        return False
    if _header(scope, b"sec-fetch-site") not in ("", "same-origin", "none"):
        return True
    origin = _header(scope, b"origin")
    if not origin:
        return False
    # The page's own scheme for both: TLS may end at a load balancer before the gateway.
    ours = _place(f"{origin.partition('://')[0]}://{_header(scope, b'host')}")
    return ours is None or _place(origin) != ours


def _place(address: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        return None
    return parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _header(scope: Scope, name: bytes) -> str:
    found = [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]
    # A header given twice is nothing a browser or a client sends: the joined value matches no rule.
    return ", ".join(found)


async def _refuse(scope: Scope, send: Send, status: int, message: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": message[:120]})
        return
    if "text/html" in _header(scope, b"accept"):
        kind = b"text/html; charset=utf-8"
        body = f"<!doctype html><title>{status}</title><h1>{status}</h1><p>{html.escape(message)}</p>"
    else:
        kind, body = b"application/json", json.dumps({"error": message})
    headers = [(b"content-type", kind), (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
    content = body.encode()
    headers.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})


class _Watched:
    """A WebSocket that ends when its person loses the role: a subscription may live for days."""

    def __init__(self, send: Send, access: AccessFile, identity: Identity) -> None:
        self._send = send
        self._access = access
        self._identity = identity
        self._ended = False

    async def send(self, message: Message) -> None:
        if self._ended:
            return
        if message["type"] == "websocket.send" and not self._access.permissions(self._identity).may_view:
            self._ended = True
            message = {"type": "websocket.close", "code": 1008, "reason": "access has ended"}
        await self._send(message)

    def receiving(self, receive: Receive) -> Receive:
        async def received() -> Message:
            return {"type": "websocket.disconnect", "code": 1008} if self._ended else await receive()

        return received
