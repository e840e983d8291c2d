"""A fake engine: a real HTTP server on a unix socket that remembers what it gets."""

import contextlib
import copy
import json
import re
import socketserver
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

PROJECT = "prod"
IMAGE_ID = "sha256:" + "a" * 64
NEVER = "0001-01-01T00:00:00Z"


def code_server(location: str = "ingestion", project: str = PROJECT) -> dict[str, Any]:
    """What the engine's inspect says of a code server, as Compose 2.26 starts it on Engine 20.10."""
    return {
        "Id": uuid.uuid4().hex * 2,
        "Name": f"/{project}-{location}-1",
        "Created": "2026-01-01T00:00:00.123456789Z",
        "Image": IMAGE_ID,
        "State": {"Status": "running", "Running": True, "StartedAt": "2026-01-01T00:00:01Z", "FinishedAt": NEVER},
        "Config": {
            "Image": f"{project}/{location}:local",
            "User": "10001:10001",
            "Env": ["DEPLOYMENT=prod", f"DAGSTER_CURRENT_IMAGE={project}/{location}:local", "PATH=/opt/venv/bin:/bin"],
            "Labels": {
                "code-location": location,
                "run.memory": "1g",
                "run.memory.max": "2g",
                "run.cpus": "1",
                "com.docker.compose.project": project,
                "com.docker.compose.service": location,
                "com.docker.compose.oneoff": "False",
                "com.docker.compose.config-hash": "c" * 64,
                "com.docker.compose.container-number": "1",
            },
            "StopTimeout": 60,
        },
        "HostConfig": {
            "Binds": None,
            "Mounts": [
                {"Type": "volume", "Source": f"{project}_lake-{location}", "Target": "/lake", "VolumeOptions": {}},
                {"Type": "bind", "Source": "/srv/secrets/pw", "Target": "/run/secrets/pw", "ReadOnly": True},
            ],
            "Tmpfs": {"/tmp": "size=256m,mode=1777"},
            "NetworkMode": f"{project}_{location}",
            "CapAdd": None,
            "CapDrop": ["ALL"],
            "ReadonlyRootfs": True,
            "SecurityOpt": ["no-new-privileges:true"],
            "PidsLimit": 256,
            "Memory": 1024**3,
            "NanoCpus": 10**9,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m"}},
            "ShmSize": 67108864,
        },
        "NetworkSettings": {"Networks": {f"{project}_{location}": {"Aliases": [location]}, f"{project}_extra": {}}},
        "Mounts": [{"Type": "bind", "Source": "/srv/secrets/pw"}],
    }


class FakeEngine:
    """Containers and images in memory; `requests` is what came in, `failures` what to answer instead."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[tuple[str, str, Any]] = []
        self.failures: dict[tuple[str, str], tuple[int, str]] = {}
        self.gates: dict[str, threading.Event] = {}
        self.waiting = threading.Semaphore(0)
        self.containers: dict[str, dict[str, Any]] = {}
        self.images: dict[str, dict[str, Any]] = {}
        self.output = b""
        self.inputs: dict[str, list[bytes]] = {}
        self.waiting_for_input = threading.Lock()
        self.versions = {
            "Version": "20.10.24",
            "ApiVersion": "1.41",
            "MinAPIVersion": "1.12",
            "Os": "linux",
            "Arch": "amd64",
        }
        self._lock = threading.Lock()

    def add(self, container: dict[str, Any]) -> dict[str, Any]:
        self.containers[container["Id"]] = container
        return container

    def add_image(self, name: str, location: str | None, image_id: str = IMAGE_ID, env: tuple[str, ...] = ()) -> None:
        labels = {"code-location": location} if location else None
        image = {"Id": image_id, "Config": {"Labels": labels, "Env": list(env)}}
        self.images[name] = self.images[image_id] = image

    def changes(self) -> list[tuple[str, str, Any]]:
        """What would have changed something."""
        return [request for request in self.requests if request[0] != "GET"]

    def creates(self) -> list[dict[str, Any]]:
        return [body for method, path, body in self.requests if method == "POST" and "/containers/create" in path]

    def answer(self, method: str, target: str, body: Any) -> tuple[int, Any]:
        path, _, query = target.partition("?")
        path = re.sub(r"^/v1\.\d+", "", path)
        for pattern, gate in self.gates.items():
            if pattern in path:
                self.waiting.release()
                gate.wait(30)
        with self._lock:
            self.requests.append((method, target, body))
            for (wanted, pattern), failure in self.failures.items():
                if method == wanted and pattern in path:
                    return failure[0], {"message": failure[1]}
            return self._route(method, path, dict(urllib.parse.parse_qsl(query)), body)

    def _route(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if path == "/_ping":
            return 200, b"OK"
        if path == "/version":
            return 200, self.versions
        if path == "/containers/json":
            return 200, self._list(query)
        if path == "/containers/create":
            return self._create(query["name"], body)
        if match := re.fullmatch(r"/images/(.+)/json", path):
            image = self.images.get(urllib.parse.unquote(match[1]))
            return (200, image) if image else (404, {"message": f"No such image: {match[1]}"})
        if match := re.fullmatch(r"/networks/([^/]+)/connect", path):
            self.containers[body["Container"]]["NetworkSettings"]["Networks"][match[1]] = {}
            return 200, b""
        match = re.fullmatch(r"/containers/([^/]+)(?:/(json|start|stop|logs|rename|attach))?", path)
        assert match, f"the broker asked the engine for {method} {path}"
        container = self.find(match[1])
        if container is None:
            return 404, {"message": f"No such container: {match[1]}"}
        return self._act(method, match[2], container, query)

    def find(self, name: str) -> dict[str, Any] | None:
        for container in self.containers.values():
            if container["Id"].startswith(name) or container["Name"] == f"/{name}":
                return container
        return None

    def _act(self, method: str, what: str | None, container: dict[str, Any], query: dict[str, str]) -> tuple[int, Any]:
        state = container["State"]
        if method == "DELETE":
            if state["Status"] == "running":
                return 409, {"message": "You cannot remove a running container"}
            del self.containers[container["Id"]]
        elif what == "json":
            return 200, copy.deepcopy(container)
        elif what == "logs":
            return 200, self.output
        elif what == "rename":
            if self.find(query["name"]):
                return 409, {"message": f'Conflict. The container name "/{query["name"]}" is already in use'}
            container["Name"] = f"/{query['name']}"
        elif what == "attach":
            return (101, b"") if state["Status"] == "running" else (409, {"message": "the container is not running"})
        elif what == "start":
            state.update(Status="running", Running=True, StartedAt="2026-01-02T00:00:00Z")
        else:
            state.update(Status="exited", Running=False, ExitCode=143, FinishedAt="2026-01-02T00:01:00Z")
        return 204, b""

    def _create(self, name: str, body: dict[str, Any]) -> tuple[int, Any]:
        if self.find(name):
            return 409, {"message": f'Conflict. The container name "/{name}" is already in use'}
        networks = {key: {} for key in body["NetworkingConfig"]["EndpointsConfig"]}
        made = self.add(
            {
                "Id": uuid.uuid4().hex * 2,
                "Name": f"/{name}",
                "Created": now(),
                "Image": body["Image"],
                "State": {"Status": "created", "Running": False, "StartedAt": NEVER, "FinishedAt": NEVER},
                "Config": {key: body[key] for key in ("Image", "User", "Env", "Cmd", "Labels", "StopTimeout")},
                "HostConfig": body["HostConfig"],
                "NetworkSettings": {"Networks": networks},
                "Mounts": [],
            }
        )
        return 201, {"Id": made["Id"], "Warnings": []}

    def _list(self, query: dict[str, str]) -> list[dict[str, Any]]:
        wanted = dict(label.split("=", 1) for label in json.loads(query.get("filters", "{}")).get("label", []))
        return [
            {
                "Id": container["Id"],
                "Names": [container["Name"]],
                "Image": container["Config"]["Image"],
                "ImageID": container["Image"],
                "State": container["State"]["Status"],
                "Status": "Up",
                "Created": 1,
                "Labels": container["Config"]["Labels"],
            }
            for container in self.containers.values()
            if wanted.items() <= container["Config"]["Labels"].items()
            and (query["all"] == "1" or container["State"]["Status"] == "running")
        ]


def now(offset: float = 0.0) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + offset)) + ".5Z"


@contextlib.contextmanager
def serve_engine(engine: FakeEngine) -> Iterator[FakeEngine]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, answer = engine.answer(self.command, self.path, body)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            if status == 101:
                self._take(re.split("[/?]", self.path)[3])
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(content)

        def _take(self, container: str) -> None:
            """An attached connection: what comes until the caller has no more is the container's input."""
            self.protocol_version = "HTTP/1.1"
            self.send_response(101)
            self.end_headers()
            self.close_connection = True
            with engine.waiting_for_input:
                engine.inputs.setdefault(container, []).append(self.rfile.read())

        do_GET = do_POST = do_DELETE = _any  # noqa: N815 - http.server calls them so

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

        def address_string(self) -> str:
            return "unix"

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        request_queue_size = 128

    engine.path.unlink(missing_ok=True)
    server = Server(str(engine.path), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield engine
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
