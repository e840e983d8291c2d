"""Where alerts go, from the settings of the two processes that send: the location platform and the webserver."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from platform_kit.alerts.policy import is_address
from platform_kit.environment import Secret, SettingError, port_setting, setting


@dataclass(frozen=True)
class Email:
    """A mail server and who is always written to."""

    host: str
    port: int
    user: str
    password: Secret
    sender: str
    to: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """`webhook` and `email` are None where nothing is set. `site` is the address of the UI, without a slash."""

    webhook: Secret | None
    email: Email | None
    site: str


def from_environment() -> Settings:
    """Read them. Raises SettingError when one is not legal or half of e-mail's are missing."""
    return Settings(_webhook(), _email(), site())


def site() -> str:
    """Where people reach the UI, by SITE_ADDRESS, GATEWAY_BIND and GATEWAY_PORT."""
    name, port = setting("SITE_ADDRESS", ""), setting("GATEWAY_PORT", "3000")
    if name:
        return f"https://{name}" if port == "443" else f"https://{name}:{port}"
    bound = setting("GATEWAY_BIND", "127.0.0.1")
    return f"http://{'127.0.0.1' if bound == '0.0.0.0' else bound}:{port}"  # noqa: S104  a place to look, not to listen


def _webhook() -> Secret | None:
    # The entry point has put the secret file's content there; an empty file is how a webhook is not used.
    url = setting("ALERT_WEBHOOK_URL", "").strip()
    if not url:
        return None
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and not re.search(r"[\s\x00-\x1f\x7f]", url)
        good = good and url.isascii() and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise SettingError("ALERT_WEBHOOK_URL is no address of a webhook: expected https://… in that secret's file")
    return Secret(url)


def _email() -> Email | None:
    host, to = setting("SMTP_HOST", ""), setting("ALERT_EMAIL_TO", "")
    if not host and not to:
        return None
    sender = setting("ALERT_EMAIL_FROM", "")
    receivers = tuple(part.strip() for part in to.split(",") if part.strip())
    for name, addresses in (("ALERT_EMAIL_TO", receivers), ("ALERT_EMAIL_FROM", (sender,))):
        for address in addresses or ("",):
            if not is_address(address):
                raise SettingError(f"{name} has {address!r}: expected an e-mail address, for SMTP_HOST is {host!r}")
    if not re.fullmatch(r"[A-Za-z0-9.:_-]+", host):
        raise SettingError(f"SMTP_HOST is {host!r}: expected a mail server's name, for ALERT_EMAIL_TO is set")
    user, password = setting("SMTP_USER", ""), Secret(setting("SMTP_PASSWORD", ""))
    return Email(host, port_setting("SMTP_PORT", 587), user, password, sender, receivers)
