"""Promise: an alert reaches webhook and mailbox; no name or error in it does more than be read; one channel's failure
is its own."""

import email
import json
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from platform_kit.alerts.channels import Channel, ChannelError, Mail, Webhook, channels
from platform_kit.alerts.message import Alert, clean, run_link
from platform_kit.alerts.outbox import ATTEMPTS, MOST_WAITING, Outbox
from platform_kit.alerts.settings import Email, from_environment
from platform_kit.environment import Secret, SettingError

RUN = "9f0c1b62-5a0e-4c4e-9d0e-3d1c1f6a7b8c"
ALERT = Alert("Run failed: ingestion/daily", (("error", "ValueError: broken"),), f"http://127.0.0.1:3000/runs/{RUN}")


class Receiver(ThreadingHTTPServer):
    """A webhook: keeps what it gets and answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.status = 200
        self.got: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hooks/s3cret"


class Hook(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        assert self.headers["Content-Type"] == "application/json"
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.send_header("Location", "/hooks/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.got.append({"followed": self.path})
        self.send_error(404)

    def log_message(self, *_: object) -> None: ...


class MailServer(socketserver.ThreadingTCPServer):
    """Speaks as much SMTP as a client needs: EHLO, STARTTLS, AUTH, one message."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None, implicit: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Session)
        self.tls, self.implicit = tls, implicit
        self.port: int = self.server_address[1]
        self.refuse = ""
        self.said: list[str] = []
        self.mails: list[Message] = []
        self.receivers: list[list[str]] = []


class Session(socketserver.StreamRequestHandler):
    server: MailServer

    def secure(self) -> None:
        assert self.server.tls
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()  # the server itself knows of the socket before TLS alone

    def handle(self) -> None:
        if self.server.implicit:
            self.secure()
        secured = self.server.implicit
        receivers: list[str] = []
        self.wfile.write(b"220 ready\r\n")
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            verb = line.split(" ")[0].split(":")[0].upper()
            self.server.said.append(f"{verb} {'tls' if secured else 'plain'}")
            answer = "250 ok"
            if verb == "EHLO":
                offer = "250-STARTTLS\r\n" if self.server.tls and not secured else ""
                answer = f"250-test\r\n{offer}250 AUTH PLAIN LOGIN"
            elif verb == "RCPT":
                receivers.append(line.partition("<")[2].partition(">")[0])
                answer = self.server.refuse or answer
            elif verb == "AUTH":
                answer = "235 welcome"
            elif verb == "DATA":
                self.wfile.write(b"354 go on\r\n")
                body = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mails.append(email.message_from_bytes(body, policy=default))
                self.server.receivers.append(receivers)
            elif verb == "QUIT":
                answer = "221 bye"
            self.wfile.write(("220 go on" if verb == "STARTTLS" else answer).encode() + b"\r\n")
            if verb == "STARTTLS":
                self.secure()
                secured = True


@contextmanager
def serving(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with serving(Receiver()) as server:
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "both.pem", "-out", "cert.pem"]
    subprocess.run([*make.split(), *names], cwd=folder, check=True, capture_output=True)
    with (folder / "both.pem").open("a") as file:
        file.write((folder / "cert.pem").read_text())
    return folder


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "both.pem")
    return context


@pytest.fixture
def trust(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate / "cert.pem"))


def mail(port: int, trust: ssl.SSLContext | None = None, user: str = "", to: str = "ops@example.org") -> Mail:
    settings = Email("127.0.0.1", port, user, Secret("hunter2" if user else ""), "dagster@example.org", (to,))
    return Mail(settings, timeout=5, context=trust)


# --- Webhook


def test_a_webhook_gets_the_text(hook: Receiver) -> None:
    Webhook(Secret(hook.url)).send(ALERT)
    expected = f"Run failed: ingestion/daily\nerror: ValueError: broken\nhttp://127.0.0.1:3000/runs/{RUN}"
    assert hook.got == [{"text": expected}]


@pytest.mark.parametrize("status", [302, 307, 400, 404, 429, 500])
def test_anything_but_success_is_a_failure_and_no_redirect_is_followed(hook: Receiver, status: int) -> None:
    hook.status = status
    with pytest.raises(ChannelError, match=f"HTTP {status}"):
        Webhook(Secret(hook.url)).send(ALERT)
    assert len(hook.got) == 1


def test_a_webhook_that_is_away_is_named_without_its_secret_address() -> None:
    with pytest.raises(ChannelError, match="cannot be reached: URLError") as failed:
        Webhook(Secret("http://127.0.0.1:1/hooks/s3cret"), timeout=2).send(ALERT)
    assert "s3cret" not in str(failed.value)


def test_a_webhook_that_does_not_answer_is_left(hook: Receiver) -> None:
    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent)) as silent:
        url = f"http://127.0.0.1:{silent.server_address[1]}/"
        with pytest.raises(ChannelError, match="TimeoutError"):
            Webhook(Secret(url), timeout=0.2).send(ALERT)


class Silent(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while self.request.recv(1000):
            pass


# --- Mail


def test_mail_goes_over_tls_with_the_password_after_it(tls: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    with serving(MailServer(tls)) as server:
        mail(server.port, trust, user="dagster").send(ALERT)
    assert server.said.index("STARTTLS plain") < server.said.index("AUTH tls")
    (got,) = server.mails
    assert (got["Subject"], got["From"], got["To"]) == (ALERT.title, "dagster@example.org", "ops@example.org")
    assert got.get_content().rstrip("\n").replace("\r", "") == ALERT.text


def test_a_port_of_tls_from_the_start_works(
    tls: ssl.SSLContext, trust: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(MailServer(tls, implicit=True)) as server:
        monkeypatch.setattr("platform_kit.alerts.channels._TLS_PORT", server.port)
        mail(server.port, trust, user="dagster").send(ALERT)
    assert server.said[0] == "EHLO tls"
    assert len(server.mails) == 1


def test_a_password_is_not_sent_without_tls() -> None:
    with serving(MailServer(None)) as server, pytest.raises(ChannelError, match="offers no TLS"):
        mail(server.port, user="dagster").send(ALERT)
    assert not [line for line in server.said if line.startswith(("AUTH", "DATA"))]


def test_a_certificate_of_nobodys_is_refused(tls: ssl.SSLContext) -> None:
    server = MailServer(tls)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  the client hangs up
    with serving(server), pytest.raises(ChannelError, match="certificate") as failed:
        mail(server.port, user="dagster").send(ALERT)
    assert "hunter2" not in str(failed.value)
    assert server.mails == []


def test_a_relay_of_ones_own_needs_neither_password_nor_tls() -> None:
    with serving(MailServer(None)) as server:
        mail(server.port).send(ALERT)
    assert len(server.mails) == 1


def test_a_server_that_takes_it_for_nobody_is_a_failure() -> None:
    with serving(MailServer(None)) as server:
        server.refuse = "550 no such user"
        with pytest.raises(ChannelError, match="SMTPRecipientsRefused"):
            mail(server.port).send(ALERT)


def test_a_location_cannot_mail_its_data_to_anybody() -> None:
    alert = Alert("Run failed", to=("webhook", "ana@EXAMPLE.org", "eve@evil.example", "eve@example.org.evil.example"))
    with serving(MailServer(None)) as server:
        mail(server.port).send(alert)
    assert server.receivers == [["ops@example.org", "ana@EXAMPLE.org"]]
    assert "Not sent to eve@evil.example, eve@example.org.evil.example" in server.mails[0].get_content()


# --- Hostile words


HOSTILE = [
    "daily\r\nBcc: eve@evil.example\r\n\r\nbody",
    "daily\n.\r\nMAIL FROM:<eve@evil.example>",
    "daily\u2028second line\x85third\x0bfourth",
    "daily \u202egnp.exe\u202c \u200b hidden",
    "<!channel> <!everyone> <@U123> @here @channel @all",
    "<https://evil.example|open the run> [open the run](https://evil.example) javascript://x",
    "=?utf-8?q?Subject?= \ud800 \x00",
    "password=hunter2 postgresql://dagster:hunter2@postgres/dagster",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_and_errors_are_text_and_nothing_else(hook: Receiver, name: str) -> None:
    alert = Alert(f"Run failed: {name}", (("error", name), (name, "value")), run_link("https://dagster.example", name))
    Webhook(Secret(hook.url)).send(alert)
    with serving(MailServer(None)) as server:
        mail(server.port).send(alert)
    (got,) = hook.got
    (sent,) = server.mails
    body = sent.get_content()
    assert got["text"].splitlines()[-1] == "https://dagster.example/runs"
    assert len(got["text"].splitlines()) == len(body.rstrip().splitlines()) == 4
    assert not any(character in got["text"] for character in "\x00\x0b\u202e\u200b<>")
    for text in (got["text"].rpartition("\n")[0], body.rstrip().rpartition("\n")[0], sent["Subject"]):
        assert "://" not in text
        assert "](" not in text
        assert "@here" not in text
        assert "@channel" not in text
        assert "hunter2" not in text
    assert sent["Bcc"] is None
    assert server.receivers == [["ops@example.org"]]
    assert server.said.count("MAIL plain") == 1


def test_long_words_are_cut() -> None:
    assert len(clean("x" * 10_000_000)) == 300
    assert len(Alert("y" * 1000).subject) == 150


# --- Outbox


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_failing_channel_neither_holds_nor_repeats_the_other(hook: Receiver) -> None:
    clock, outbox = Clock(), Outbox()
    with serving(MailServer(None)) as server:
        both: list[Channel] = [Webhook(Secret(hook.url)), mail(server.port)]
        hook.status = 500
        outbox.add([ALERT], both)
        for _ in range(3):
            outbox.deliver(both, clock)
            clock.now += 3600
            outbox = Outbox.from_json(outbox.to_json())
        assert (len(server.mails), len(hook.got)) == (1, 3)
        hook.status = 200
        outbox.deliver(both, clock)
        outbox.deliver(both, clock)
    assert (len(server.mails), len(hook.got), outbox.waiting) == (1, 4, [])
    assert hook.got[-1] == hook.got[0]


def test_pauses_grow_and_end(hook: Receiver) -> None:
    clock, outbox, channel = Clock(), Outbox(), Webhook(Secret(hook.url))
    hook.status = 503
    outbox.add([ALERT], [channel])
    pauses = []
    while outbox.waiting:
        outbox.deliver([channel], clock)
        tried = len(hook.got)
        outbox.deliver([channel], clock)  # not due yet
        assert len(hook.got) == tried
        pauses += [delivery.due - clock.now for delivery in outbox.waiting]
        clock.now = max([clock.now, *(delivery.due for delivery in outbox.waiting)])
    assert len(hook.got) == ATTEMPTS
    assert pauses[:3] == [30, 60, 120]
    assert max(pauses) == 3600


def test_a_channel_that_fails_is_not_tried_for_each_alert(hook: Receiver) -> None:
    outbox, channel = Outbox(), Webhook(Secret(hook.url))
    hook.status = 500
    outbox.add([ALERT] * 5, [channel])
    outbox.deliver([channel], Clock())
    assert len(hook.got) == 1
    assert len(outbox.waiting) == 5


def test_what_waits_is_bounded_and_a_channel_that_is_gone_forgotten() -> None:
    outbox, channel = Outbox(), Webhook(Secret("http://127.0.0.1:1/"))
    outbox.add([ALERT] * (MOST_WAITING + 7), [channel])
    assert len(outbox.waiting) == MOST_WAITING
    outbox.deliver([], Clock())
    assert outbox.waiting == []


# --- Settings


MAIL = {"SMTP_HOST": "smtp.example.org", "ALERT_EMAIL_TO": "a@x.org, b@y.org", "ALERT_EMAIL_FROM": "d@x.org"}


def configure(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_nothing_is_configured_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, ALERT_WEBHOOK_URL="", SMTP_PASSWORD="", SMTP_HOST="", ALERT_EMAIL_TO="")
    assert channels(from_environment()) == []


def test_both_channels_come_from_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, **MAIL, ALERT_WEBHOOK_URL="https://hooks.example.org/s3cret\n", SMTP_PASSWORD="hunter2")
    settings = from_environment()
    assert [channel.name for channel in channels(settings)] == ["webhook", "email"]
    assert settings.email is not None
    assert (settings.email.to, settings.email.port) == (("a@x.org", "b@y.org"), 587)
    assert "s3cret" not in repr(settings)
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALERT_WEBHOOK_URL", "file:///etc/passwd"),
        ("ALERT_WEBHOOK_URL", "https://"),
        ("ALERT_WEBHOOK_URL", "https://a.example/x\r\nHost: b"),
        ("ALERT_WEBHOOK_URL", "https://a.example:99999/"),
        ("ALERT_EMAIL_TO", "a@x.org\nBcc: e@evil.example"),
        ("ALERT_EMAIL_TO", ""),
        ("ALERT_EMAIL_FROM", ""),
        ("SMTP_HOST", ""),
        ("SMTP_HOST", "smtp.example.org/x"),
        ("SMTP_PORT", "mail"),
    ],
)
def test_a_setting_that_is_not_legal_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    configure(monkeypatch, **{**MAIL, name: value})
    with pytest.raises(SettingError, match=name):
        from_environment()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "http://127.0.0.1:3000"),
        ({"GATEWAY_BIND": "0.0.0.0", "GATEWAY_PORT": "8080"}, "http://127.0.0.1:8080"),
        ({"GATEWAY_BIND": "10.0.0.5"}, "http://10.0.0.5:3000"),
        ({"SITE_ADDRESS": "dagster.example.org", "GATEWAY_PORT": "443"}, "https://dagster.example.org"),
        ({"SITE_ADDRESS": "dagster.internal", "GATEWAY_PORT": "8443"}, "https://dagster.internal:8443"),
    ],
)
def test_links_lead_to_the_gateway(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], expected: str) -> None:
    configure(monkeypatch, **settings)
    assert from_environment().site == expected
    assert run_link(expected, RUN) == f"{expected}/runs/{RUN}"
