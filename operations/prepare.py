"""What `up` makes once and never overwrites: settings and secrets."""

import zlib
from itertools import chain
from pathlib import Path

from operations import environment_file, secret_files, users
from operations.context import Context
from operations.deployment import PROD
from operations.errors import StackError
from operations.library import index

# Files that are made otherwise than by drawing a random value.
GATEWAY_FILES = ("gateway_users", "gateway_groups")
# Made empty, for Compose wants a file: what is to be in it comes from outside, or nothing does.
EMPTY_FILES = (
    "alert_webhook_url",
    "smtp_password",
    "backup_s3_authority",
    "postgres_authority",
    "lake_s3_authority",
    "logs_s3_authority",
    "deployment_record",
)
# Keys of S3, each location's among them.
EMPTY_SUFFIXES = ("_s3_key", "_s3_key_secret")
# Passwords of others: a value drawn here would only be refused there, an hour of search later.
GIVEN = {index.PASSWORD: "the password of the private package index (LIBRARY_INDEX)"}
FIRST_PORT, LAST_PORT = 3001, 3999


def planned(context: Context) -> dict[str, str]:
    """The settings that `up` will have, for the checks that come before it makes them."""
    values = context.deployment.settings()
    return values if context.deployment.env_file.exists() else {**values, **_of_its_own(context)}


def settings(context: Context) -> None:
    """Make .env, or append what a newer .env.example brings."""
    deployment = context.deployment
    where = deployment.shown(deployment.env_file)
    if not deployment.env_file.exists():
        environment_file.create(deployment.env_file, deployment.example, _of_its_own(context))
        context.report.say(f"Made {where} from .env.example")
        return
    added = environment_file.append_new(deployment.env_file, deployment.example)
    if added:
        context.report.say(f"Appended new settings to {where}: {', '.join(added)}")


def _of_its_own(context: Context) -> dict[str, str]:
    """What differs from .env.example in a deployment beside prod: its own secrets and a port of its own."""
    name = context.deployment.name
    if name == PROD:
        return {}
    return {"SECRETS_DIR": f"./.deployments/{name}/secrets", "GATEWAY_PORT": str(_free_port(context))}


def _free_port(context: Context) -> int:
    """The first that is free from where the name points.

    So whoever makes a deployment again finds it where it was, and of two that are made at once, neither of which
    listens yet, each has its own.
    """
    ports = range(FIRST_PORT, LAST_PORT + 1)
    start = zlib.crc32(context.deployment.name.encode()) % len(ports)
    for port in chain(ports[start:], ports[:start]):
        if context.host.port_problem("127.0.0.1", port) is None:
            return port
    raise StackError(
        f"no port from {FIRST_PORT} to {LAST_PORT} is free", "one for this deployment", "stop a deployment"
    )


def make_secrets(context: Context) -> None:
    """Every secret that Compose names and that has no file yet, and the first user."""
    directory = context.deployment.secrets()
    secret_files.make_directory(directory)
    made = []
    for path in missing_secrets(context, directory):
        empty = path.name in EMPTY_FILES or path.name.endswith(EMPTY_SUFFIXES)
        if secret_files.create(path, "" if empty else secret_files.generate()):
            made.append(path.name)
    made += _first_user(directory)
    if made:
        context.report.say(f"Made in {context.deployment.shown(directory)}: {', '.join(sorted(made))}")


def missing_secrets(context: Context, directory: Path) -> list[Path]:
    """Files of secrets that are to be drawn. One that lies elsewhere is its owner's to make."""
    missing = []
    for name, secret in (context.config.get("secrets") or {}).items():
        path = Path(secret["file"]) if "file" in secret else None
        if path is None or path.name in GATEWAY_FILES or path.is_file():
            continue
        if path.name in GIVEN:
            raise StackError(f"{path} does not exist", GIVEN[path.name], "write it there, readable for its owner")
        if path.parent.resolve() != directory:
            raise StackError(
                f"the secret {name} has no file: {path}",
                f"a file there, or one in {directory}, which would be made",
                "make it (readable for the container's user), or correct SECRETS_DIR",
            )
        missing.append(path)
    return missing


def _first_user(directory: Path) -> list[str]:
    """The user admin; nothing when there are users already, whoever they are."""
    password = directory / "admin_password"
    files = [directory / name for name in GATEWAY_FILES]
    missing = [path for path in files if not path.is_file()]
    made = []
    if secret_files.create(password, secret_files.generate()):
        made.append(password.name)
    people = users.Users(directory)
    if not people.read():
        admin = users.new_user("admin", password.read_text(encoding="utf-8").strip(), ["platform"])
        people.write([admin])
        return [*made, *(path.name for path in missing)]
    for path in missing:
        if secret_files.create(path, ""):
            made.append(path.name)
    return made
