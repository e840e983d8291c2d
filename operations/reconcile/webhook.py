"""A small receiver for a forge's webhooks. All it can do is touch one file, which systemd watches.

It believes nobody: who pushed what, reconcile asks the remote itself. A call that is valid only says "look now".
"""

import hashlib
import hmac
import json
import os
import pwd
import socket
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from operations.context import Context
from operations.errors import StackError
from operations.reconcile.memory import Records
from operations.reconcile.repository import Branch, Repository

SECRET = "reconcile_webhook"  # noqa: S105
PATH = "/reconcile"
# A push of two thousand commits is about 3 MB.
LARGEST = 5 * 1024 * 1024
# In all for one call, and for one that only trickles.
SECONDS = 10.0
AT_ONCE = 16
# Bodies that were acted on: the same signed body again is a replay, or the forge's own second try.
REMEMBERED = 1024
SHORTEST_SECRET = 16
NOBODY = "nobody"


@dataclass
class Receiver:
    """What decides about a call: the secret, the branch, and the file to touch. Opened before rights are dropped."""

    secret: bytes
    branch: Branch
    wanted: int
    seen: "OrderedDict[bytes, None]" = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def allows(self, headers: Any, body: bytes) -> bool:
        """Whether the sender knows the secret: a signature of the body, or GitLab's token. In constant time."""
        signature, token = headers.get("X-Hub-Signature-256"), headers.get("X-Gitlab-Token")
        if signature is not None:
            expected = "sha256=" + hmac.new(self.secret, body, hashlib.sha256).hexdigest()
            return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))
        if token is not None:
            return hmac.compare_digest(self.secret, token.encode("utf-8", "replace"))
        return False

    def decide(self, body: bytes) -> tuple[HTTPStatus, str]:
        """What a body of somebody who knows the secret leads to."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return HTTPStatus.BAD_REQUEST, "the body is no JSON document"
        ref = document.get("ref") if isinstance(document, dict) else None
        if ref is None:
            return HTTPStatus.OK, "no push: nothing to do"
        if ref != f"refs/heads/{self.branch.name}":
            return HTTPStatus.OK, "another branch: nothing to do"
        with self.lock:
            digest = hashlib.sha256(body).digest()
            if digest in self.seen:
                return HTTPStatus.OK, "seen before: nothing to do"
            self.seen[digest] = None
            while len(self.seen) > REMEMBERED:
                self.seen.popitem(last=False)
            # The content is for people; that it was written is what systemd sees.
            os.pwrite(self.wanted, f"{time.time():.0f}\n".encode(), 0)
        return HTTPStatus.ACCEPTED, "reconcile is asked for"


class Server(ThreadingHTTPServer):
    """One thread a call, a few at once."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(self, address: tuple[str, int], receiver: Receiver, log: Any = print) -> None:
        self.receiver, self.log = receiver, log
        self.seconds = SECONDS
        self._room = threading.BoundedSemaphore(AT_ONCE)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a call, or hang up when there are too many."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One call, which ends in time whatever the other side does."""
        timer = threading.Timer(self.seconds, _hang_up, [request])
        timer.daemon = True
        timer.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Somebody hung up, or was hung up on: one line, no traceback."""
        self.log(f"{client_address[0]} a call that was broken off")


def _hang_up(request: Any) -> None:
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class Handler(BaseHTTPRequestHandler):
    """One call: everything about its form is checked before its content is looked at."""

    server: Server
    protocol_version = "HTTP/1.0"
    server_version = "reconcile"
    sys_version = ""

    def do_POST(self) -> None:
        """A webhook."""
        # Compared as it came: nothing is decoded, joined or resolved, and no path leads anywhere else.
        if self.requestline.split()[1] != PATH:
            return self._answer(HTTPStatus.NOT_FOUND, f"only {PATH} is here")
        if self.headers.get("Transfer-Encoding") is not None:
            return self._answer(HTTPStatus.LENGTH_REQUIRED, "the length has to be told first")
        lengths = self.headers.get_all("Content-Length") or []
        if len(lengths) != 1 or not (lengths[0].isascii() and lengths[0].isdigit()) or len(lengths[0]) > 9:
            return self._answer(HTTPStatus.LENGTH_REQUIRED, "one Content-Length")
        if int(lengths[0]) > LARGEST:
            return self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {LARGEST} bytes")
        body = self.rfile.read(int(lengths[0]))
        if len(body) != int(lengths[0]):
            return self._answer(HTTPStatus.BAD_REQUEST, "the body is shorter than it says")
        if not self.server.receiver.allows(self.headers, body):
            return self._answer(HTTPStatus.UNAUTHORIZED, "not signed with the secret of this receiver")
        return self._answer(*self.server.receiver.decide(body))

    def do_GET(self) -> None:
        """Nothing is shown here."""
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, "POST")

    def _answer(self, status: HTTPStatus, text: str) -> None:
        content = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ARG002
        """One line a call, without what the sender chose, which may hold control characters or secrets."""
        status = args[1] if len(args) > 1 else "-"
        self.server.log(f"{self.client_address[0]} {status}")


def read_secret(path: Path, generate: str) -> bytes:
    """The secret that the forge knows as well."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise StackError(
            f"{path} cannot be read: {error.strerror}",
            "the secret that the forge signs its webhooks with",
            f"make one: {generate} > {path}; chmod 600 {path}; and give it to the forge",
        ) from error
    if len(secret) < SHORTEST_SECRET:
        raise StackError(
            f"the secret in {path} has {len(secret)} characters",
            f"at least {SHORTEST_SECRET}: an empty one would let everybody in",
            f"make another: {generate} > {path}",
        )
    return secret


def serve(context: Context, bind: str, port: int) -> None:
    """Listen until stopped."""
    deployment = context.deployment
    repository = Repository(deployment.root, context.executor)
    repository.require()
    branch = repository.branch(deployment.settings().get("RECONCILE_BRANCH", ""))
    # As a service it is handed this one secret, and sees no other.
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    secret = read_secret((Path(folder) if folder else deployment.secrets()) / SECRET, "openssl rand -hex 32")
    wanted = Records(deployment).wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(wanted, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        server = Server((bind, port), Receiver(secret, branch, handle), context.report.say)
    except (OSError, OverflowError) as error:
        raise StackError(
            f"{bind}:{port} cannot be listened on: {error}",
            "a free port of an address of this machine",
            "choose another",
        ) from error
    _drop_rights()
    context.report.say(f"Listening on http://{bind}:{port}{PATH} for pushes to {branch.name}.")
    with server:
        server.serve_forever()


def _drop_rights() -> None:
    """Root is only needed to read the secret and to open the file: from here on, nobody in particular."""
    if os.geteuid() != 0:
        return
    nobody = pwd.getpwnam(NOBODY)
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
