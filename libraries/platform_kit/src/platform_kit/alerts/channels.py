"""The two ways out: a webhook and a mail server. Both raise ChannelError, whose message holds no secret."""

import json
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from http.client import HTTPException
from typing import Protocol
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from platform_kit.alerts.message import Alert, clean
from platform_kit.alerts.settings import Email, Settings
from platform_kit.environment import Secret

_TIMEOUT = 10.0
_TLS_PORT = 465


class ChannelError(Exception):
    """An alert was not taken; the message says why and is safe to log."""


class Channel(Protocol):
    """Takes an alert or raises ChannelError."""

    name: str

    def send(self, alert: Alert) -> None:
        """Hand the alert over."""


def channels(settings: Settings) -> list[Channel]:
    """The channels that are configured."""
    found: list[Channel] = []
    if settings.webhook:
        found.append(Webhook(settings.webhook))
    if settings.email:
        found.append(Mail(settings.email))
    return found


class _NoRedirect(HTTPRedirectHandler):
    """A redirect would send the alert to where the webhook's answer says."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class Webhook:
    """POSTs {"text": …}, which Slack, Mattermost, Rocket.Chat and Google Chat show, and anything else can read."""

    name = "webhook"

    def __init__(self, url: Secret, timeout: float = _TIMEOUT) -> None:
        self._url, self._timeout = url, timeout

    def send(self, alert: Alert) -> None:
        """Raises ChannelError unless the answer is 2xx."""
        # Slack's own escapes: in its text, <…> is a link or a mention.
        text = alert.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        body = json.dumps({"text": text}).encode()
        request = Request(self._url.reveal(), body, {"Content-Type": "application/json"})  # noqa: S310  checked
        opener = build_opener(_NoRedirect, HTTPSHandler(context=ssl.create_default_context()))
        try:
            with opener.open(request, timeout=self._timeout):
                pass
        except HTTPError as error:
            error.close()
            raise ChannelError(f"the webhook answered HTTP {error.code}") from None
        except (OSError, HTTPException, ValueError) as error:
            # The address is a secret, and these errors may quote it.
            raise ChannelError(f"the webhook cannot be reached: {type(error).__name__}") from None


class Mail:
    """Sends one message to the deployment's receivers and the alert's own."""

    name = "email"

    def __init__(self, settings: Email, timeout: float = _TIMEOUT, context: ssl.SSLContext | None = None) -> None:
        self._settings, self._timeout, self._context = settings, timeout, context

    def send(self, alert: Alert) -> None:
        """Raises ChannelError when the server takes it for nobody."""
        try:
            message = self._message(alert)
            with self._connection() as server:
                if self._settings.user:
                    server.login(self._settings.user, self._settings.password.reveal())
                server.send_message(message)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            secret = self._settings.password.reveal()
            said = str(error).replace(secret, "***") if secret else str(error)
            raise ChannelError(f"mail by {self._settings.host}: {type(error).__name__}: {clean(said)}") from None

    def receivers(self, alert: Alert) -> tuple[list[str], list[str]]:
        """Who is written to, and who is not: addresses outside of the deployment's own domains.

        Those of an alert come from a location, whose data could otherwise leave by mail to anybody.
        """
        domains = {address.rpartition("@")[2].lower() for address in self._settings.to}
        wanted = dict.fromkeys([*self._settings.to, *alert.addresses])
        taken = [address for address in wanted if address.rpartition("@")[2].lower() in domains]
        return taken, [address for address in wanted if address not in taken]

    def _message(self, alert: Alert) -> EmailMessage:
        taken, refused = self.receivers(alert)
        note = f"\n\nNot sent to {', '.join(refused)}: not a domain of ALERT_EMAIL_TO." if refused else ""
        message = EmailMessage()
        message["Subject"] = alert.subject
        message["From"] = self._settings.sender
        message["To"] = ", ".join(taken)
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=self._settings.sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # no out-of-office answers
        message.set_content(alert.text + note + "\n")
        return message

    def _connection(self) -> smtplib.SMTP:
        settings, context = self._settings, self._context or ssl.create_default_context()
        if settings.port == _TLS_PORT:
            return smtplib.SMTP_SSL(settings.host, settings.port, timeout=self._timeout, context=context)
        server = smtplib.SMTP(settings.host, settings.port, timeout=self._timeout)
        try:
            server.ehlo()
            if server.has_extn("starttls"):
                server.starttls(context=context)
                server.ehlo()
            elif settings.user:
                raise ChannelError(f"mail by {settings.host}: it offers no TLS, and a password is not sent without")
        except BaseException:
            server.close()
            raise
        return server
