"""Settings and secrets of a deployment that comes back: which are the backup's, and which stay its own."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from operations import environment_file, secret_files
from operations.backups import record
from operations.backups.source import OWNER
from operations.context import Context
from operations.deployment import Deployment

# What is this machine's or this deployment's own, whatever the backup says.
OWN = ("SECRETS_DIR", "DOCKER_SOCKET", "BASE_IMAGE", "PACKAGE_INDEX")
PAUSED = "deploy/overlays/paused.yml"
# A copy beside the original is reached by its own port, tells nobody anything, and starts nothing by itself.
OF_A_COPY = {"SITE_ADDRESS": "", "GATEWAY_BIND": "127.0.0.1", "SMTP_HOST": "", "ALERT_EMAIL_TO": ""}
# Names that secrets have, of which none leaves its folder.
FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
TELLING = ("alert_webhook_url", "smtp_password")


def settings(deployment: Deployment, recorded: dict[str, Any], *, copy: bool) -> dict[str, str]:
    """What the fresh deployment's .env is to say: the backup's values, but where somebody has set another already."""
    example = {key: each.value for key, each in environment_file.parse(_text(deployment.example), "").items()}
    present = environment_file.read(deployment.env_in_force, deployment.example)
    then = {key: each.value for key, each in environment_file.parse(recorded["settings"], "the backup's .env").items()}
    chosen = {}
    for key, value in present.items():
        keep = key in OWN or key.startswith("BACKUP") or value != example.get(key, value)
        chosen[key] = value if keep else then.get(key, value)
    if copy:
        chosen |= {**OF_A_COPY, "COMPOSE_FILE": _with(then.get("COMPOSE_FILE", chosen["COMPOSE_FILE"]), PAUSED)}
        chosen["GATEWAY_PORT"] = present["GATEWAY_PORT"]
    return chosen


def write(context: Context, recorded: dict[str, Any], *, copy: bool) -> list[str]:
    """Give a fresh deployment the backup's settings and secrets; returns what came back."""
    deployment = context.deployment
    for key, value in settings(deployment, recorded, copy=copy).items():
        environment_file.set_value(deployment.env_file, key, value)
    context.__dict__.pop("config", None)
    texts = {name: "" if copy and name in TELLING else text for name, text in recorded["secrets"].items()}
    return write_secrets(deployment.secrets(), texts, overwrite=True)


def write_secrets(directory: Path, texts: Mapping[str, str], *, overwrite: bool) -> list[str]:
    """Secrets that are missing, or all of them; returns their names."""
    secret_files.make_directory(directory)
    written = []
    for name, text in sorted(texts.items()):
        # A name from the repository becomes a path.
        if not FILE.fullmatch(name) or not record.is_kept(name):
            continue
        path = directory / name
        if secret_files.create(path, text):
            written.append(name)
        elif overwrite and path.read_text(encoding="utf-8") != text:
            secret_files.rewrite(path, text)
            written.append(name)
    return written


def inherit(deployment: Deployment, owner: str) -> None:
    """What was restored from a repository of its own goes on writing there, though the machine is another one."""
    directory = deployment.secrets()
    path = directory / OWNER
    secret_files.create(path, secret_files.generate())
    first = path.read_text(encoding="utf-8").splitlines()[0]
    secret_files.rewrite(path, f"{first}\n{owner}\n")


def write_state(deployment: Deployment, recorded: dict[str, Any]) -> None:
    """Who did what, and the releases: where there is no such file yet."""
    deployment.state.mkdir(parents=True, exist_ok=True)
    for name, text in recorded["state"].items():
        path = deployment.state / name
        if name in record.STATE and not path.exists():
            path.write_text(text, encoding="utf-8")


def released(values: Mapping[str, str]) -> dict[str, str]:
    """Settings that name the image of a release."""
    return {key: tag for key, tag in values.items() if key.endswith("_TAG") and tag != "local"}


def _with(files: str, overlay: str) -> str:
    return files if overlay in files.split(":") else f"{files}:{overlay}"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
