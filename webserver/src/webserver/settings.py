"""Everything the webserver takes from its environment; nothing else here reads `os.environ`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class SettingsError(ValueError):
    """A setting that is missing or illegal: says which, what was found and what is expected."""


@dataclass(frozen=True)
class Settings:
    """Where to listen, which files to read, and the secret that proves a request came through the gateway."""

    gateway_token: str = field(repr=False)
    host: str = "webserver-edge"
    port: int = 3000
    workspace_file: Path = Path("/opt/dagster/workspace.yaml")
    access_file: Path = Path("/opt/dagster/access.yaml")
    audit_log: Path = Path("/var/lib/dagster/audit/audit.jsonl")
    # What every page says at its top; nothing in production.
    banner: str = ""


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; an empty variable counts as absent. Raises `SettingsError`."""
    given = {name: value.strip() for name, value in environment.items() if value.strip()}
    token = given.get("GATEWAY_TOKEN", "")
    if len(token) < 16:
        raise SettingsError(
            f"GATEWAY_TOKEN has {len(token)} characters; expected the gateway's secret of at least 16: "
            "mount secrets/gateway_token and name it in GATEWAY_TOKEN_FILE"
        )
    port = given.get("WEBSERVER_PORT", "3000")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise SettingsError(f"WEBSERVER_PORT is {port!r}; expected a number from 0 to 65535")
    return Settings(
        gateway_token=token,
        host=given.get("WEBSERVER_HOST", Settings.host),
        port=int(port),
        workspace_file=Path(given.get("WORKSPACE_FILE", Settings.workspace_file)),
        access_file=Path(given.get("ACCESS_FILE", Settings.access_file)),
        audit_log=Path(given.get("AUDIT_LOG", Settings.audit_log)),
        banner=_banner(given),
    )


def _banner(given: Mapping[str, str]) -> str:
    """BANNER, or, where nobody wrote one, the name of a deployment that is not production."""
    name = given.get("DEPLOYMENT", "")
    return given.get("BANNER", "" if name in ("", "prod") else name)
