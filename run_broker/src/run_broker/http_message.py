"""HTTP/1.1 on a stream socket: one request in, one response out, then the connection is closed.

Far less than HTTP on purpose: no chunked bodies, no keep-alive, no pipelining, no upgrade, no folded headers. What two
readers could understand differently is refused.
"""

import json
import re
import socket
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from run_broker.audit import Decision
from run_broker.refusal import Refusal

MAX_TARGET = 2048
MAX_HEAD = 16 * 1024
MAX_HEADERS = 64
MAX_BODY = 256 * 1024
_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]+) HTTP/1\.1")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*([\t\x20-\x7e]*)")


@dataclass(frozen=True)
class Request:
    """One request, as read."""

    method: str
    target: str
    content_type: str
    body: bytes


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, status: int, value: Any, **headers: str) -> "Response":
        """An answer with a JSON body."""
        return cls(status, json.dumps(value).encode() + b"\n", headers=headers)

    def to_bytes(self) -> bytes:
        """The answer as it goes over the wire."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", "Connection: close", "Server: run-broker"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.status not in (204, 304):
            lines += [f"Content-Type: {self.content_type}", f"Content-Length: {len(self.body)}"]
        body = b"" if self.status in (204, 304) else self.body
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


class RequestReader:
    """Reads one request with one deadline for all of it: a byte now and then does not hold a worker for ever."""

    def __init__(self, connection: socket.socket, seconds: float, decision: Decision) -> None:
        """The clock starts now; method and path go into `decision` as soon as they are known."""
        self._decision = decision
        self._connection = connection
        self._deadline = time.monotonic() + seconds
        self._buffer = b""

    def read(self) -> Request | None:
        """The request, or None when the peer closed without sending anything."""
        head = self._read_head()
        if head is None:
            return None
        request_line, *header_lines = head.split(b"\r\n")
        match = _REQUEST_LINE.fullmatch(request_line)
        if match is None:
            raise Refusal(400, "malformed-request-line", "expected METHOD /path HTTP/1.1")
        method, target = match[1].decode(), match[2].decode()
        self._decision.method, self._decision.path = method, target
        if method not in ("GET", "POST"):
            raise Refusal(405, "method-not-allowed", f"{method} is not offered", allow="GET, POST")
        if len(target) > MAX_TARGET:
            raise Refusal(414, "target-too-long", f"the target has more than {MAX_TARGET} characters")
        headers = _parse_headers(header_lines)
        body = self._read_body(_body_length(method, headers))
        return Request(method, target, headers.get("content-type", ""), body)

    def _read_head(self) -> bytes | None:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD:
                self._refuse_head()
            chunk = self._receive()
            if not chunk:
                if not self._buffer:
                    return None
                raise Refusal(400, "truncated-request", "the connection was closed inside the request's head")
            self._buffer += chunk
        if end > MAX_HEAD:
            self._refuse_head()
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        return head

    def _refuse_head(self) -> None:
        if self._buffer.find(b"\r\n", 0, MAX_HEAD) < 0:
            raise Refusal(414, "target-too-long", f"no end of the request line in {MAX_HEAD} bytes")
        raise Refusal(431, "headers-too-large", f"no end of the headers in {MAX_HEAD} bytes")

    def _read_body(self, length: int) -> bytes:
        parts, received = [self._buffer], len(self._buffer)
        while received < length:
            chunk = self._receive()
            if not chunk:
                raise Refusal(400, "truncated-request", f"the body ended after {received} of {length} bytes")
            parts.append(chunk)
            received += len(chunk)
        if received > length or self._has_more():
            # A second request behind the first, or a body longer than it says: one of the two is smuggled.
            raise Refusal(400, "trailing-bytes", "bytes follow the request; one connection carries one request")
        return b"".join(parts)

    def _receive(self) -> bytes:
        remaining = self._deadline - time.monotonic()
        try:
            if remaining <= 0:
                raise TimeoutError
            self._connection.settimeout(remaining)
            return self._connection.recv(65536)
        except TimeoutError as error:
            raise Refusal(408, "too-slow", "the request did not arrive in time") from error

    def _has_more(self) -> bool:
        # Not MSG_DONTWAIT: with a timeout set, Python waits for data before it asks the kernel.
        self._connection.setblocking(False)
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False


def send_response(connection: socket.socket, response: Response, seconds: float) -> None:
    """Write the answer; a peer that does not read it in time loses it."""
    connection.settimeout(seconds)
    connection.sendall(response.to_bytes())


def _parse_headers(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MAX_HEADERS:
        raise Refusal(431, "headers-too-large", f"more than {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise Refusal(400, "malformed-header", "a header is not `name: value` in printable ASCII on one line")
        name, value = match[1].decode().lower(), match[2].decode().strip(" \t")
        if name in headers:
            raise Refusal(400, "duplicate-header", f"the header {name} appears twice")
        headers[name] = value
    if "transfer-encoding" in headers:
        raise Refusal(411, "transfer-encoding", "a body needs Content-Length; no transfer coding is accepted")
    connection = {token.strip().lower() for token in headers.get("connection", "").split(",")}
    if "upgrade" in headers or not connection <= {"", "close", "keep-alive"}:
        raise Refusal(400, "upgrade", "connections are not upgraded or hijacked")
    if "expect" in headers:
        raise Refusal(417, "expectation", "Expect is not supported")
    if "content-encoding" in headers:
        raise Refusal(415, "content-encoding", "compressed bodies are not read")
    return headers


def _body_length(method: str, headers: dict[str, str]) -> int:
    text = headers.get("content-length")
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit()) or (len(text) > 1 and text[0] == "0"):
        raise Refusal(400, "malformed-content-length", "Content-Length is not a plain decimal number")
    if len(text) > 10 or int(text) > MAX_BODY:
        raise Refusal(413, "body-too-large", f"a body has at most {MAX_BODY} bytes")
    if method == "GET" and int(text):
        raise Refusal(400, "unexpected-body", "GET takes no body")
    return int(text)
