"""The Docker Engine, over its unix socket: the few calls the broker makes, one connection each."""

import http.client
import json
import socket
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import SWITCHING_PROTOCOLS
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ValidationError

from run_broker.engine_views import Container, Image, Summary

MAX_ANSWER = 8 * 1024**2
SEND_SECONDS = 5.0
# Spoken where the engine offers it; the range covers Engine 20.10 (1.41) to today's, whose oldest is 1.44.
NEWEST_API = (1, 47)
View = TypeVar("View", bound=BaseModel)


class EngineError(Exception):
    """The engine refused or failed: its status and its own message."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the parts."""
        super().__init__(f"the engine answered {status}: {message}")
        self.status = status
        self.message = message


class EngineUnreachableError(EngineError):
    """The engine does not answer at all."""

    def __init__(self, error: Exception) -> None:
        """Say what happened instead of an answer."""
        super().__init__(503, f"{type(error).__name__}: {error}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """The engine's API, reduced to what a run's life needs. Safe to share between threads."""

    def __init__(self, path: Path, timeout: float) -> None:
        """Nothing is contacted yet."""
        self._path = path
        self._timeout = timeout
        self._api = ""

    def ping(self) -> None:
        """Raise unless the engine answers."""
        self._call("GET", "/_ping", timeout=min(self._timeout, 5.0), versioned=False)

    def version(self) -> dict[str, str]:
        """The engine's version and the API version spoken with it, as docker-py wants to read them."""
        answer = self._json("GET", "/version", versioned=False)
        text = {key: str(answer.get(key, "")) for key in ("Version", "Os", "Arch", "MinAPIVersion")}
        spoken = min(_version(answer.get("ApiVersion")), NEWEST_API)
        spoken = max(spoken, _version(answer.get("MinAPIVersion")))
        return {**text, "ApiVersion": f"{spoken[0]}.{spoken[1]}"}

    def inspect(self, container: str) -> Container | None:
        """A container by id or name; None when there is none."""
        return self._view(Container, f"/containers/{quote(container, safe='')}/json")

    def inspect_image(self, image: str) -> Image | None:
        """An image by name or id; None when there is none."""
        return self._view(Image, f"/images/{quote(image, safe='/:@')}/json")

    def list_containers(self, labels: Mapping[str, str], *, every: bool) -> list[Summary]:
        """The containers that carry all these labels; with `every` also those that do not run."""
        filters = json.dumps({"label": [f"{key}={value}" for key, value in labels.items()]})
        query = urlencode({"all": int(every), "filters": filters})
        rows = self._json("GET", f"/containers/json?{query}")
        try:
            return [Summary.model_validate(row) for row in rows]
        except (ValidationError, TypeError) as error:
            raise EngineError(502, "a list of containers in an unknown form") from error

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Create a container and return its id."""
        answer = self._json("POST", f"/containers/create?{urlencode({'name': name})}", body)
        identifier = answer.get("Id") if isinstance(answer, dict) else None
        if not isinstance(identifier, str):
            raise EngineError(502, "a created container without an id")
        return identifier

    def connect(self, network: str, container: str) -> None:
        """Put a container on one more network, without any alias there."""
        body = {"Container": container, "EndpointConfig": {}}
        self._call("POST", f"/networks/{quote(network, safe='')}/connect", body)

    def start(self, container: str) -> None:
        """Start a container; no error when it runs already."""
        self._call("POST", f"/containers/{container}/start")

    def rename(self, container: str, name: str) -> None:
        """Give a container another name; an error when another container has it."""
        self._call("POST", f"/containers/{container}/rename?{urlencode({'name': name})}")

    def send(self, container: str, content: bytes) -> None:
        """Write to a running container's standard input; when this returns, the engine has taken all of it.

        To one that has just ended the engine would connect, too, and then be silent: hence the short time.
        """
        target = f"{self._api_prefix()}/containers/{container}/attach?stream=1&stdin=1"
        connection = _UnixConnection(self._path, min(self._timeout, SEND_SECONDS))
        try:
            connection.request("POST", target, headers={"Connection": "Upgrade", "Upgrade": "tcp"})
            response = connection.getresponse()
            if response.status != SWITCHING_PROTOCOLS:
                raise EngineError(response.status, _message(response.read(65536)))
            connection.sock.sendall(content)
            connection.sock.shutdown(socket.SHUT_WR)
            while connection.sock.recv(4096):
                pass  # The engine closes when it has passed on the last byte.
        except (OSError, http.client.HTTPException) as error:
            self._api = ""
            raise EngineUnreachableError(error) from error
        finally:
            connection.close()

    def stop(self, container: str, seconds: int) -> None:
        """Ask a container to end and kill it after `seconds`; no error when it has ended."""
        self._call("POST", f"/containers/{container}/stop?t={seconds}", timeout=self._timeout + seconds)

    def remove(self, container: str) -> None:
        """Remove a container that does not run, with its anonymous volumes. Never forced: what runs stays."""
        self._call("DELETE", f"/containers/{container}?v=1")

    def logs(self, container: str, query: Mapping[str, str], limit: int) -> bytes:
        """The last frames of a container's output that fit into `limit` bytes, in the engine's multiplexed form."""
        frames: deque[bytes] = deque()
        size = 0
        with self._answer("GET", f"/containers/{container}/logs?{urlencode(query)}", None, self._timeout) as response:
            while len(header := response.read(8)) == 8:
                frame = header + response.read(int.from_bytes(header[4:], "big"))
                frames.append(frame)
                size += len(frame)
                while size > limit:
                    size -= len(frames.popleft())
        return b"".join(frames)

    def _view(self, view: type[View], path: str) -> View | None:
        try:
            return view.model_validate(self._json("GET", path))
        except ValidationError as error:
            where = error.errors()[0]["loc"]
            raise EngineError(502, f"a {view.__name__.lower()} in an unknown form: {where}") from error
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, versioned: bool = True) -> Any:
        try:
            return json.loads(self._call(method, path, body, versioned=versioned))
        except ValueError as error:
            raise EngineError(502, "an answer that is not JSON") from error

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
        versioned: bool = True,
    ) -> bytes:
        with self._answer(method, path, body, timeout or self._timeout, versioned=versioned) as response:
            content = response.read(MAX_ANSWER + 1)
        if len(content) > MAX_ANSWER:
            raise EngineError(502, "an answer too large to read")
        return content

    @contextmanager
    def _answer(
        self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float, *, versioned: bool = True
    ) -> Iterator[http.client.HTTPResponse]:
        """One call on a connection of its own; every way to fail becomes an EngineError."""
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        target = (self._api_prefix() if versioned else "") + path
        connection = _UnixConnection(self._path, timeout)
        try:
            connection.request(method, target, content, headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise EngineError(response.status, _message(response.read(65536)))
            yield response
        except (OSError, http.client.HTTPException) as error:
            self._api = ""
            raise EngineUnreachableError(error) from error
        finally:
            connection.close()

    def _api_prefix(self) -> str:
        """`/v1.x`, agreed once, and again after the engine was away (it may have been upgraded)."""
        prefix = self._api
        if not prefix:
            prefix = self._api = f"/v{self.version()['ApiVersion']}"
        return prefix


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])[:1000]
    except (ValueError, KeyError, TypeError):
        return content[:200].decode("utf-8", "replace")


def _version(text: object) -> tuple[int, int]:
    major, _, minor = str(text or "1.41").partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (1, 41)
