"""The receiver for webhooks believes nobody, bears everything, and can only touch one file."""

import hashlib
import hmac
import json
import os
import pwd
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from operations.errors import StackError
from operations.reconcile import webhook
from operations.reconcile.repository import Branch
from operations.tests.reconcile_world import World

SECRET = b"0123456789abcdef0123456789abcdef"
PUSH = json.dumps({"ref": "refs/heads/main", "after": "1" * 40}).encode()


class Caller:
    """A receiver, and somebody who calls it."""

    def __init__(self, wanted: Path) -> None:
        self.wanted = wanted
        self.lines: list[str] = []
        handle = os.open(wanted, os.O_WRONLY | os.O_CREAT)
        self.server = webhook.Server(
            ("127.0.0.1", 0), webhook.Receiver(SECRET, Branch("origin", "main"), handle), self.lines.append
        )
        self.port = self.server.server_address[1]

    def post(self, body: bytes = PUSH, path: str = webhook.PATH, method: str = "POST", **headers: str) -> int:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            return connection.getresponse().status
        finally:
            connection.close()

    def raw(self, content: bytes, *, seconds: float = 20) -> bytes:
        """Sends bytes as they are, and reads until the other side hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(content)
            answer = b""
            while part := connection.recv(4096):
                answer += part
            return answer

    @property
    def asked(self) -> bool:
        return self.wanted.stat().st_size > 0


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    own = Caller(tmp_path / "wanted")
    thread = threading.Thread(target=own.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield own
    own.server.shutdown()
    own.server.server_close()
    thread.join()


def signature(body: bytes, secret: bytes = SECRET) -> dict[str, Any]:
    return {"X_Hub_Signature_256": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()}


def test_a_signed_push_to_the_branch_touches_the_file(caller: Caller) -> None:
    assert caller.post(**signature(PUSH)) == 202
    assert caller.asked


def test_gitlabs_token_counts_as_well(caller: Caller) -> None:
    assert caller.post(X_Gitlab_Token=SECRET.decode()) == 202
    assert caller.asked


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_Hub_Signature_256": ""},
        {"X_Hub_Signature_256": "sha256="},
        {"X_Hub_Signature_256": "sha256=" + "0" * 64},
        {"X_Hub_Signature": "sha1=" + hmac.new(SECRET, PUSH, hashlib.sha1).hexdigest()},
        {"X_Hub_Signature_256": hmac.new(SECRET, PUSH, hashlib.sha256).hexdigest()},
        signature(PUSH, b""),
        signature(PUSH + b" "),
        {"X_Gitlab_Token": ""},
        {"X_Gitlab_Token": "0123456789abcdef"},
        {"X_Gitlab_Token": "é"},
        # A wrong signature is not saved by a right token.
        {"X_Hub_Signature_256": "sha256=" + "0" * 64, "X_Gitlab_Token": SECRET.decode()},
    ],
)
def test_without_the_secret_nothing_happens(caller: Caller, headers: dict[str, Any]) -> None:
    assert caller.post(**headers) == 401
    assert not caller.asked


@pytest.mark.parametrize(
    "document",
    [
        {"ref": "refs/heads/other"},
        {"ref": "refs/tags/main"},
        {"ref": "main"},
        {"ref": ["refs/heads/main"]},
        {"ref": "refs/heads/main/../../x"},
        {"zen": "ping"},
        [],
        "refs/heads/main",
        None,
    ],
)
def test_other_branches_and_other_events_touch_nothing(caller: Caller, document: Any) -> None:
    body = json.dumps(document).encode()
    assert caller.post(body, **signature(body)) == 200
    assert not caller.asked


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_signed_body_that_is_no_document_is_an_error_of_the_sender(caller: Caller, body: bytes) -> None:
    assert caller.post(body, **signature(body)) == 400
    assert not caller.asked


def test_the_same_body_again_is_a_replay(caller: Caller) -> None:
    assert caller.post(**signature(PUSH)) == 202
    os.truncate(caller.wanted, 0)
    assert caller.post(**signature(PUSH)) == 200
    assert not caller.asked
    other = json.dumps({"ref": "refs/heads/main", "after": "2" * 40}).encode()
    assert caller.post(other, **signature(other)) == 202
    assert caller.asked


def test_what_is_remembered_of_bodies_is_bounded(tmp_path: Path) -> None:
    handle = os.open(tmp_path / "wanted", os.O_WRONLY | os.O_CREAT)
    receiver = webhook.Receiver(SECRET, Branch("origin", "main"), handle)
    for number in range(webhook.REMEMBERED + 10):
        receiver.decide(json.dumps({"ref": "refs/heads/main", "after": number}).encode())
    assert len(receiver.seen) == webhook.REMEMBERED
    os.close(handle)


@pytest.mark.parametrize(
    "path",
    ["/", "/reconcile/", "//reconcile", "/reconcile?x=1", "/%72econcile", "/x/../reconcile", "/../../etc/passwd", "*"],
)
def test_there_is_one_path(caller: Caller, path: str) -> None:
    assert caller.post(path=path, **signature(PUSH)) == 404
    assert not caller.asked


@pytest.mark.parametrize(("method", "status"), [("GET", 405), ("PUT", 501), ("DELETE", 501)])
def test_there_is_one_method(caller: Caller, method: str, status: int) -> None:
    assert caller.post(method=method, **signature(PUSH)) == status
    assert not caller.asked


def head(*lines: str) -> bytes:
    return "\r\n".join([f"POST {webhook.PATH} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head("Content-Length: 99999999"), b"413"),
        (head("Content-Length: 9" * 1 + "9" * 30), b"411"),
        (head("Content-Length: -1"), b"411"),
        (head("Content-Length: 0x10"), b"411"),
        (head("Content-Length: ٣"), b"411"),
        (head("Content-Length: 2", "Content-Length: 2"), b"411"),
        (head("Transfer-Encoding: chunked"), b"411"),
        (head("Transfer-Encoding: chunked", "Content-Length: 2"), b"411"),
        (head(), b"411"),
        (head(*(f"X-{number}: y" for number in range(200))), b"431"),
        (head("X: " + "y" * 70_000), b"431"),
        (b"POST " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
    ],
)
def test_requests_that_are_no_webhook_are_refused_by_their_form(
    caller: Caller, request_head: bytes, status: bytes
) -> None:
    assert status in caller.raw(request_head).split(b"\r\n")[0]
    assert caller.post(**signature(PUSH)) == 202


def test_a_huge_body_is_not_read(caller: Caller) -> None:
    assert b"413" in caller.raw(head(f"Content-Length: {webhook.LARGEST + 1}") + b"x" * 1000)


@pytest.mark.parametrize("sent", [b"", b"POST /recon", head("Content-Length: 100") + b"{"])
def test_a_slow_caller_is_hung_up_on(caller: Caller, sent: bytes) -> None:
    caller.server.seconds = 0.3
    begin = time.monotonic()
    caller.raw(sent)
    assert time.monotonic() - begin < 5
    caller.server.seconds = webhook.SECONDS
    assert caller.post(**signature(PUSH)) == 202


def test_one_that_trickles_is_hung_up_on_as_well(caller: Caller) -> None:
    caller.server.seconds = 0.5
    with socket.create_connection(("127.0.0.1", caller.port), timeout=10) as connection:
        begin = time.monotonic()
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe|aborted"):  # noqa: PT012
            while time.monotonic() - begin < 8:
                connection.sendall(b"x")
                time.sleep(0.02)
    assert not caller.asked


def test_many_at_once_are_turned_away_and_the_next_is_served(caller: Caller) -> None:
    caller.server.seconds = 60
    held = [socket.create_connection(("127.0.0.1", caller.port), timeout=10) for _ in range(webhook.AT_ONCE)]
    # Each of them holds a place as soon as it is accepted; one more finds none, and is hung up on at once.
    assert caller.raw(b"") == b""
    for each in held:
        each.close()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            status = caller.post(**signature(PUSH))
            break
        except OSError:
            continue
    assert status == 202


def test_the_log_has_nothing_that_the_caller_chose(caller: Caller) -> None:
    caller.raw(b"POST /\x1b[31mred HTTP/1.1\r\nUser-Agent: \x1b]0;x\x07\r\nContent-Length: 0\r\n\r\n")
    caller.post(X_Gitlab_Token="a-wrong-secret-of-some-length")
    told = "".join(caller.lines)
    assert "127.0.0.1 401" in told
    assert not any(word in told for word in ("\x1b", "red", "a-wrong-secret"))


@pytest.mark.parametrize(("content", "found"), [(None, "cannot be read"), (b"", "has 0 characters"), (b"x" * 15, "15")])
def test_without_a_proper_secret_it_does_not_listen(tmp_path: Path, content: bytes | None, found: str) -> None:
    path = tmp_path / "reconcile_webhook"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StackError, match=found):
        webhook.read_secret(path, "openssl rand -hex 32")


def test_the_file_to_touch_is_not_followed_when_it_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "wanted").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        os.open(tmp_path / "wanted", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW)


def test_it_listens_for_the_branch_of_the_checkout_and_touches_the_file_that_systemd_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch)
    (world.vm / "secrets").mkdir()
    (world.vm / "secrets" / webhook.SECRET).write_bytes(SECRET + b"\n")
    statuses = []

    def serve_once(server: webhook.Server) -> None:
        port = server.server_address[1]
        caller = threading.Thread(target=lambda: statuses.append(_post(int(port))))
        caller.start()
        server.handle_request()
        caller.join()

    monkeypatch.setattr(webhook.Server, "serve_forever", serve_once)
    monkeypatch.setattr(webhook, "_drop_rights", lambda: None)
    webhook.serve(world.context(), "127.0.0.1", 0)
    assert statuses == [202]
    assert world.records.wanted.read_text().strip().isdigit()
    assert "for pushes to main" in world.told()


def _post(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {key.replace("_", "-"): value for key, value in signature(PUSH).items()}
    connection.request("POST", webhook.PATH, PUSH, headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_port_that_is_taken_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, monkeypatch)
    (world.vm / "secrets").mkdir()
    (world.vm / "secrets" / webhook.SECRET).write_bytes(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StackError, match="cannot be listened on"):
        webhook.serve(world.context(), "127.0.0.1", taken.getsockname()[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to drop")
def test_started_by_root_it_goes_on_as_nobody() -> None:
    source = "import os; from operations.reconcile import webhook as w; w._drop_rights(); "
    source += "print(os.getresuid(), os.getgroups())"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=60)
    user = pwd.getpwnam("nobody").pw_uid
    assert done.stdout.strip() == f"({user}, {user}, {user}) []"
